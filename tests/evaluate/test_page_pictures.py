"""Grids and charts: what stands where."""

import math
import re
from dataclasses import replace

import pytest
from PIL import Image, ImageFont

from lorakiln.evaluate.charts import read_columns, smooth
from lorakiln.evaluate.grids import make_grids, save_grid, wrap_text
from lorakiln.evaluate.line_chart import Series, draw_chart, thin_out
from lorakiln.evaluate.page_pictures import make_data_uri
from lorakiln.evaluate.shots import plan_shots
from lorakiln.schema.evaluate import EvaluateSettings


@pytest.fixture
def plan():
    settings = EvaluateSettings(prompts=["sks cat", "a dog"], seeds=[0, 1], weights=[0, 1], between=[0.5])
    return plan_shots(settings, "sks", (16, 16), "base", "lora")


@pytest.fixture
def samples(plan, tmp_path):
    """Every picture has a colour of its own."""
    for number, shot in enumerate(plan.shots):
        path = tmp_path / "samples" / shot.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 + number * 8, 40, 200 - number * 7)).save(path)
    return tmp_path / "samples"


def test_grids_hold_the_pictures_that_their_axes_name(plan):
    weights, seeds, trigger = make_grids(plan)
    assert weights.columns == ["0 (base)", "0.50", "1.00"]
    assert [[shot.weight for shot in row] for row in weights.cells] == [[0.0, 0.5, 1.0]] * 2
    assert [(shot.weight, shot.seed) for shot in seeds.cells[1]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [(shot.text, shot.seed) for shot in trigger.cells[0]] == [
        ("sks cat", 0),
        ("sks cat", 1),
        ("cat", 0),
        ("cat", 1),
    ]
    assert len(trigger.rows) == 1  # "a dog" has no trigger words to leave out


def test_a_grid_png_shows_every_picture_enlarged_by_a_whole_factor(plan, samples, tmp_path):
    grid = make_grids(plan)[0]
    save_grid(grid, samples, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as sheet:
        counts = {colour: count for count, colour in sheet.convert("RGB").getcolors(1 << 20)}
    for shot in (shot for row in grid.cells for shot in row):
        with Image.open(samples / shot.file_name) as picture:
            assert counts[picture.getpixel((0, 0))] == 192 * 192


def test_long_headings_are_wrapped_above_their_own_column(plan, samples, tmp_path):
    grid = make_grids(plan)[0]
    save_grid(grid, samples, tmp_path / "short.png")
    long = ["targets=kohya prompts=a cat in a long sentence rank=16 scheduler=cosine"] * len(grid.columns)
    save_grid(replace(grid, columns=long), samples, tmp_path / "long.png")
    save_grid(replace(grid, columns=["word " * 200] * len(long)), samples, tmp_path / "longer.png")
    sheets = [Image.open(tmp_path / f"{name}.png").convert("L") for name in ("short", "long", "longer")]
    heights = [sheet.height for sheet in sheets]
    assert (heights[1] - heights[0]) % 19 == 0 and heights[1] > heights[0]
    assert heights[2] - heights[0] == 7 * 19  # eight lines
    for sheet, more in zip(sheets, (0, heights[1] - heights[0], 7 * 19), strict=True):
        # Margin 24, row labels 210, then columns of 192 with gaps of 10; the title stands above y = 64.
        for left in (24 + 210 + 192 + 1, 24 + 210 + 2 * 192 + 10 + 1):
            assert sheet.crop((left, 50, left + 8, 86 + more)).getextrema() == (255, 255)


def test_long_labels_are_wrapped_and_nothing_is_lost():
    font, text = (
        ImageFont.load_default(15),
        "a very long prompt about " + "extraordinarily" * 4 + " tall cats",
    )
    lines = wrap_text(text, 120, font)
    assert all(font.getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def places(svg):
    """Of a chart's first line, in the picture, downward."""
    path = re.search(r'class="line s1".*?d="([^"]*)"', svg, re.DOTALL)[1]
    return [tuple(map(float, one.split())) for one in re.findall(r"[ML] ([\d.]+ [\d.]+)", path)]


def test_chart_places_points_on_its_axes():
    svg = draw_chart([Series("loss", [(0, 0.0), (5, 0.25), (10, 1.0)])], "step", "loss <b>", "a & b")
    (x0, y0), (x1, y1), (x2, y2) = places(svg)
    assert x0 < x1 < x2 and y0 > y1 > y2
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.5, abs=1e-4)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.25, abs=1e-4)
    assert "<title>a &amp; b</title>" in svg and "loss &lt;b&gt;" in svg and "<b>" not in svg
    assert draw_chart([Series("none", [])], "x", "y", "t") == ""


def test_a_chart_takes_the_pages_colours_and_is_the_same_every_time():
    def draw(title="t"):
        band = [(0, 1.0, 3.0), (1, 2.0, 5.0)]
        return draw_chart([Series("a", [(0, 2), (1, 3)], band, dots=True), Series("b", [(0, 1)])], "$x$ a", "y", title)

    svg = draw()
    assert svg == draw() and ">$x$ a</text>" in svg
    assert all(f"var({name})" in svg for name in ("--s1", "--s2", "--soft", "--edge"))
    # Nothing that would reach beyond it on the page, or that names what another chart has too.
    assert not re.search(r"#[0-9a-f]{6}\b", svg) and "<style" not in svg and "font-family" not in svg
    names = [set(re.findall(r'id="([^"]*)"', one)) for one in (svg, draw("other"))]
    assert names[0] and not names[0] & names[1]


def test_long_curves_are_thinned_by_means():
    points = [(float(x), 2.0 * x) for x in range(1000)]
    short = thin_out(points)
    assert len(short) <= 240 and short[0] == (2.0, 4.0)


def test_smoothing_keeps_a_straight_line_and_shrinks_noise():
    line = [(float(x), 3.0 * x + 1) for x in range(50)]
    assert all(math.isclose(a[1], b[1]) for a, b in zip(smooth(line), line, strict=True))
    noise = [(float(x), (-1.0) ** x) for x in range(100)]
    assert max(abs(y) for _, y in smooth(noise)[10:90]) < 0.2


def test_columns_are_read_where_both_are_numbers(tmp_path):
    (tmp_path / "m.csv").write_text("step,loss,lr\n1,0.5,0.1\n2,,0.1\n3,0.25,\n")
    assert read_columns(tmp_path / "m.csv", "step", "loss") == [(1.0, 0.5), (3.0, 0.25)]
    assert read_columns(tmp_path / "none.csv", "step", "loss") == []


def test_inline_pictures_are_small_and_small_ones_exact(tmp_path):
    import base64
    import io

    Image.effect_noise((64, 48), 60).convert("RGB").save(tmp_path / "small.png")
    Image.effect_noise((900, 600), 60).convert("RGB").save(tmp_path / "large.png")
    small, large = make_data_uri(tmp_path / "small.png", "s"), make_data_uri(tmp_path / "large.png", "l")
    assert (small.width, small.height, small.small) == (64, 48, True)
    assert (large.width, large.height, large.small) == (256, 171, False)
    decoded = Image.open(io.BytesIO(base64.b64decode(small.uri.split(",")[1]))).convert("RGB")
    assert decoded.tobytes() == Image.open(tmp_path / "small.png").tobytes()

"""Sample grids as PNGs with labelled axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.pictures import read_picture
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.metrics import Shot, format_weight

_PAPER, _INK, _SOFT, _EDGE = "#ffffff", "#1c1917", "#78716c", "#e7e5e4"
_CELL = 192  # small pictures are enlarged towards this side, large ones shown at most at twice it
_GAP, _MARGIN, _LABEL = 10, 24, 210
_TITLE, _TEXT = 22, 15
_LINES = 8  # of a column's heading


@dataclass(frozen=True)
class Drawn:
    """A picture of a grid that is in no plan."""

    file_name: Path


@dataclass(frozen=True)
class Grid:
    """Pictures by row and column; a cell may be empty.

    Attributes:
        groups: a heading over so many columns, in order; empty for none.
    """

    name: str
    title: str
    rows: list[str]
    columns: list[str]
    cells: Sequence[Sequence[Shot | Drawn | None]]
    groups: tuple[tuple[str, int], ...] = ()


def make_grids(plan: ShotPlan) -> list[Grid]:
    """The grids of the report: over weights, base against LoRA over seeds, with and without the trigger."""
    shots = {(s.prompt.index, s.seed, s.weight, s.with_trigger): s for s in plan.shots}
    prompts, seed = plan.grid_prompts, plan.seeds[0]
    rows = [prompt.text or "(empty prompt)" for prompt in prompts]
    few = plan.seeds[:4]
    lora = f"LoRA at {format_weight(plan.main)}"
    over_weights = Grid(
        "weights",
        f"LoRA weight, seed {seed}",
        rows,
        ["0 (base)" if w == 0 else format_weight(w) for w in plan.grid_weights],
        [[shots.get((p.index, seed, w, True)) for w in plan.grid_weights] for p in prompts],
    )
    seeds = [f"seed {s}" for s in few]
    over_seeds = Grid(
        "seeds",
        "Base and LoRA from the same seeds",
        rows,
        seeds * 2,
        [[shots.get((p.index, s, w, True)) for w in (0.0, plan.main) for s in few] for p in prompts],
        (("base", len(few)), (lora, len(few))),
    )
    grids = [over_weights, over_seeds]
    if plan.has_trigger:
        bare = [p for p in prompts if p.text != p.bare]
        grids.append(
            Grid(
                "trigger",
                f"With and without the trigger words, {lora}",
                [p.text for p in bare],
                seeds * 2,
                [[shots.get((p.index, s, plan.main, on)) for on in (True, False) for s in few] for p in bare],
                (("with trigger", len(few)), ("without trigger", len(few))),
            )
        )
    return grids


def save_grid(grid: Grid, samples: Path, path: Path) -> None:
    """Draw one grid; `samples` is the folder that the shots' files stand in."""
    pictures = [[_enlarged(samples / shot.file_name) if shot else None for shot in row] for row in grid.cells]
    width, height = next(p.size for row in pictures for p in row if p)
    headings = [_cut(wrap_text(text, width - 4, _font(_TEXT))) for text in grid.columns]
    deep = max(len(lines) for lines in headings)
    top = _MARGIN + _TITLE + 18 + (26 if grid.groups else 0) + 24 + (deep - 1) * (_TEXT + 4)
    left = _MARGIN + _LABEL
    columns = len(grid.columns)
    extra = _GAP * 2 * max(0, len(grid.groups) - 1)
    sheet = Image.new(
        "RGB",
        (left + columns * (width + _GAP) + extra + _MARGIN, top + len(grid.rows) * (height + _GAP) + _MARGIN),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 6), grid.title, fill=_INK, font=_font(_TITLE))
    xs = _column_places(grid, left, width)
    _draw_headings(draw, grid, headings, xs, width, top)
    for row, (label, cells) in enumerate(zip(grid.rows, pictures, strict=True)):
        y = top + row * (height + _GAP)
        _draw_label(draw, label, _MARGIN, y, height)
        for x, picture in zip(xs, cells, strict=True):
            if picture:
                sheet.paste(picture, (x, y))
            draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_EDGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with explaining_disk_errors(path):
        sheet.save(path, optimize=True)


def _column_places(grid: Grid, left: int, width: int) -> list[int]:
    """The left edge of each column; groups stand apart."""
    breaks, passed = set(), 0
    for _, count in grid.groups[:-1]:
        passed += count
        breaks.add(passed)
    places, x = [], left
    for column in range(len(grid.columns)):
        if column in breaks:
            x += _GAP * 2
        places.append(x)
        x += width + _GAP
    return places


def _draw_headings(
    draw: ImageDraw.ImageDraw, grid: Grid, headings: list[list[str]], xs: list[int], width: int, top: int
) -> None:
    """The columns' headings stand on the pictures, the groups' above the highest of them."""
    for x, lines in zip(xs, headings, strict=True):
        for above, text in enumerate(reversed(lines)):
            y = top - 14 - above * (_TEXT + 4)
            draw.text((x + width // 2, y), text, fill=_SOFT, font=_font(_TEXT), anchor="mm")
    top -= (max(len(lines) for lines in headings) - 1) * (_TEXT + 4)
    column = 0
    for text, count in grid.groups:
        first, last = xs[column], xs[column + count - 1] + width
        draw.text(((first + last) // 2, top - 42), text, fill=_INK, font=_font(_TEXT + 2), anchor="mm")
        draw.line((first, top - 28, last, top - 28), fill=_EDGE, width=2)
        column += count


def _cut(lines: list[str]) -> list[str]:
    """At least one line, and at most `_LINES`."""
    return [*lines[: _LINES - 1], "…"] if len(lines) > _LINES else lines or [""]


def _draw_label(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, height: int) -> None:
    font = _font(_TEXT)
    lines = wrap_text(text, _LABEL - 16, font)[: max(1, height // (_TEXT + 4))]
    start = y + (height - len(lines) * (_TEXT + 4)) // 2
    for number, line in enumerate(lines):
        draw.text((x, start + number * (_TEXT + 4)), line, fill=_INK, font=font)


def wrap_text(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """Break `text` into lines of at most `width` pixels, between words; longer words between letters."""
    lines, line = [], ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
        while font.getlength(line) > width and len(line) > 1:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or font.getlength(line[:n]) <= width)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


def _enlarged(path: Path) -> Image.Image:
    """Small pictures are enlarged by a whole factor, so that their pixels stay true; large ones shrunk."""
    picture = read_picture(path)
    factor = _CELL // max(picture.size)
    if factor > 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((_CELL * 2, _CELL * 2), Image.Resampling.LANCZOS)
    return picture


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)

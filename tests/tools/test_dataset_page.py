"""The page and the three lines that `dvc repro caption` ends with."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.runs import make_dataset
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.dataset_page import MOST_TAGS, count_tags_or_words, write_dataset_page
from lorakiln.train.stage import plan
from pipelines.compose import compose_config
from tests.page_flaws import list_flaws
from tests.small_runs import SmallRuns

PREPARE = PrepareSettings(
    dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1, on_bad="skip", masks="files"
)


def make_settings(*overrides):
    """Of the training."""
    return check_whole(compose_config(["prepare.dataset=raw", *(f"train.{one}" for one in overrides)])).train


@pytest.fixture
def made(tmp_path):
    """Writes the page of a folder with tags, a mask, twins, a picture that is small and a file that is none."""
    raw = tmp_path / "raw"
    raw.mkdir()
    draws = np.random.default_rng(0)
    for number in range(8):
        size = (64, 16) if number == 7 else (8, 8) if number == 6 else (32, 32)
        colours = draws.integers(100, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(colours).save(raw / f"{number}.png")
        (raw / f"{number}.txt").write_text(f"sks <cat>, photo, number {number}" + ", sks <cat>" * (number == 5))
    (raw / "1.png").write_bytes((raw / "0.png").read_bytes())
    (raw / "bad.png").write_bytes(b"no picture")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    mask.save(raw / "0-masklabel.png")

    def write(train, trigger="sks <cat>"):
        prepare(raw, tmp_path / "prepared", PREPARE)
        settings = NobodySettings(trigger=trigger)
        caption(tmp_path / "prepared", raw, tmp_path / "captioned", settings, Source(path="./nowhere"))
        page = tmp_path / "captioned.html"
        write_dataset_page(tmp_path / "captioned", tmp_path / "prepared", train, page)
        return page.read_text()

    return write


def test_it_ends_with_three_lines_and_one_page(made, capsys, tmp_path):
    train = make_settings("steps=14", "batch_size=2")
    page = made(train)
    *_, pictures, findings, training = capsys.readouterr().out.splitlines()
    assert pictures == "dataset: 8 pictures in 2 buckets (32x32: 7, 64x16: 1)"
    assert findings == (
        "findings: files that were left out (1); enlarged (1); files with the same content (1); "
        "buckets of fewer pictures than a batch of 2 (1); captions with the trigger words more than once (1); "
        "tags in every caption (1)"
    )
    # Of eight one is held out; the two that are the same count as two, on one side.
    assert training == (
        "training: 7 x 1 repeats, 1 held out for validation (train.validation.every=0 trains on all); "
        f"14 = 4 epochs of 3.5 steps; each picture is seen 4 times; all on {tmp_path / 'captioned.html'}"
    )
    assert "files that were left out (1): bad.png" in page and "0.png = 1.png" in page
    assert "64x16 (1)" in page and "tags in every caption (1): photo" in page
    # Names and captions are text; nothing is fetched.
    assert "sks &lt;cat&gt;, photo, number 3" in page and "<cat>" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert re.search(r"<th scope=\"row\">photo</th><td class=\"number\">8</td><td class=\"number\">100%</td>", page)
    assert made(train) == page and list_flaws(page) == []


def test_what_was_said_by_hand_is_told(made, tmp_path):
    assert "By hand:" not in made(make_settings("steps=4"))
    (tmp_path / "raw/2.png.edit.yaml").write_text("caption: sks <cat>, mine\ncrop: [0, 0, 32, 16]\n")
    (tmp_path / "raw/3.png.edit.yaml").write_text("excluded: true\n")
    # What is left out is not opened: it may be no picture at all.
    (tmp_path / "raw/3.png").write_bytes(b"no picture")
    page = made(make_settings("steps=4"))
    assert "<p>By hand: 1 caption, 1 crop, left out 3.png.</p>" in page
    assert "2.png.edit.yaml<br>cropped by hand: 0, 0, 32, 16</td>" in page
    assert "<td>3.png</td>" not in page and "files that were left out (1): bad.png" in page


def test_the_sheet_shows_what_masks_leave(made):
    page = made(make_settings("steps=4"))
    first, second = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB")).astype(int)
        for code in re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    )
    # Cells of 96 pixels, 4 apart; a picture of 32 pixels stands in the middle of its cell.
    cells = [first[4 + 32 : 4 + 64, left + 32 : left + 64] for left in (4, 104)]
    masked, whole = cells
    assert np.array_equal(masked[:, :16], whole[:, :16])  # 0.png and 1.png are the same picture
    assert np.array_equal(masked[:, 16:], (whole[:, 16:] * 0.25).round())
    assert second.shape[:2] == (104, 104)


def test_what_the_training_refuses_is_told_and_ends_nothing(made, capsys):
    epochs = make_settings("epochs=1", "scheduler.warmup_steps=50")
    page = made(epochs, trigger="")
    told = capsys.readouterr().out
    assert "findings: the training will refuse this (1)" in told and "no trigger words (1)" in told
    assert "warmup_steps" in page and "training: see " in told


def test_repeats_of_folders_are_told(made, tmp_path, capsys):
    raw = tmp_path / "raw"
    (raw / "10_sks").mkdir()
    for path in (*raw.glob("*.png"), *raw.glob("*.txt")):
        path.rename(raw / "10_sks" / path.name)
    made(make_settings("steps=70", "batch_size=2"))
    training = capsys.readouterr().out.splitlines()[-1]
    # Seven of eight, ten times each, two a step.
    assert training.startswith("training: 7 x 1 x their folders' repeats, 1 held out")
    assert "70 = 2 epochs of 35 steps; each picture is seen 2 times, times its folder's repeats; all on" in training


def test_what_the_base_does_not_know_comes_first(made, tmp_path, capsys):
    told = "8 of 8 pictures are shaded like photographs. Take model=sd15."
    for number in range(8):
        (tmp_path / f"raw/{number}.txt").write_text("sks <cat>")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lorakiln.prepare.stage.describe_unsuited_pictures", lambda *given: told)
        page = made(make_settings("steps=4"))
    assert "\nfindings: not what the base knows (1); files that were left out (1); " in capsys.readouterr().out
    assert f"not what the base knows (1): {told}" in page
    assert "all captions are the same (1): sks &lt;cat&gt;" in page


def test_sentences_are_counted_by_words_and_lists_by_tags():
    assert count_tags_or_words(["a red cat", "A cat, asleep"]) == ("words", {"a": 2, "cat": 2, "asleep": 1, "red": 1})
    title, counts = count_tags_or_words(["b, a, c", "a, c, a d"])
    assert title == "tags" and list(counts.items()) == [("a", 2), ("c", 2), ("a d", 1), ("b", 1)]
    assert len(count_tags_or_words([", ".join(map(str, range(100)))])[1]) > MOST_TAGS


def test_the_numbers_are_those_of_the_trainings_own_plan(tmp_path, capsys):
    small = SmallRuns(tmp_path)
    config = check_whole(compose_config([*small.overrides("sd15"), "train.epochs=3", "train.repeats=2"]))
    data = make_dataset(config)
    capsys.readouterr()
    write_dataset_page(data / "captioned", data / "prepared", config.train, tmp_path / "page.html")
    plan(data / "encoded", config.train, config.model)
    told = capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    for name in ("pictures", "buckets", "steps", "saved", "rate"):
        (line,) = re.findall(rf"<tr><th scope=\"row\">{name}</th><td>(.*)</td></tr>", page)
        assert f"  {name:<11} {line}\n" in told


def test_buckets_that_are_too_small_are_refused_where_they_are_errors(tmp_path, capsys):
    small = SmallRuns(tmp_path)
    given = [*small.overrides("sd15"), "train.batch_size=64", "prepare.findings.small_bucket=error"]
    config = check_whole(compose_config(given))
    data = make_dataset(config)
    capsys.readouterr()
    with pytest.raises(UserError, match=r"fewer pictures than a batch of 64: .*\(\d+\)") as refused:
        plan(data / "encoded", config.train, config.model)
    write_dataset_page(data / "captioned", data / "prepared", config.train, tmp_path / "page.html")
    assert "the training will refuse this (1)" in capsys.readouterr().out
    assert refused.value.what in (tmp_path / "page.html").read_text()

"""Which pictures of a report are drawn, and which are taken from an earlier one."""

import json
import shutil

import pytest

from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json
from lorakiln.evaluate import drawing, evaluate, painter
from lorakiln.metrics import Prompt, Shot
from tests.evaluate.conftest import SETTINGS, write_lora


@pytest.fixture
def stopped(folders, tmp_path, judged_model, monkeypatch):
    """A report whose drawing was stopped when 7 of 20 pictures were there."""
    saved, save = [], drawing.save_picture

    def failing(*args):
        if len(saved) == 7:
            raise SystemExit(143)
        saved.append(args)
        save(*args)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(drawing, "save_picture", failing)
        evaluate(*folders, tmp_path / "report", SETTINGS, judged_model)
    return tmp_path / "report"


def test_what_a_stopped_drawing_has_drawn_is_not_drawn_again(
    folders, reported, stopped, judged_model, count_drawn, capsys
):
    assert not stopped.exists()
    evaluate(*folders, stopped, SETTINGS, judged_model)
    told = capsys.readouterr().out
    assert len(count_drawn) == 20 - 7 and "13 pictures drawn, 7 already there" in told
    assert "evaluate: 20 pictures to be drawn and scored, on the CPU in fp32\n" in told
    assert hash_folder(stopped) == hash_folder(reported)
    assert not list(stopped.parent.glob(".*"))


@pytest.mark.timeout(120)
def test_several_processes_draw_what_one_draws(folders, reported, tmp_path, judged_model, count_drawn):
    settings = SETTINGS.model_copy(update={"workers": 2})
    evaluate(*folders, tmp_path / "report", settings, judged_model)
    assert not count_drawn  # in this process
    # The page shows the settings, and so how many processes there were.
    assert {path.name for path in differing(tmp_path / "report", reported)} == {"report.html"}


def differing(one, other):
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (one, other)
    ]
    assert files[0].keys() == files[1].keys()
    return [path for path, content in files[0].items() if content != files[1][path]]


def test_a_batch_is_of_one_weight_and_one_size():
    cat = Prompt(0, "a cat", "a cat")
    shots = [Shot(cat, True, n, n // 5 / 2, 64, 64 if n < 8 else 32, str(n)) for n in range(10)]
    split = [[shot.key for shot in batch] for batch in drawing.split_batches(shots, 3)]
    assert split == [["0", "1", "2"], ["3", "4"], ["5", "6", "7"], ["8", "9"]]


def test_a_kept_picture_that_a_power_cut_has_cut_off_is_drawn_again(
    folders, reported, stopped, judged_model, count_drawn
):
    kept = sorted(stopped.parent.glob(".report.kept/*.png"))
    assert len(kept) == 7
    kept[0].write_bytes(kept[0].read_bytes()[:-200])
    kept[1].write_bytes(b"")
    evaluate(*folders, stopped, SETTINGS, judged_model)
    assert len(count_drawn) == 20 - 5 and hash_folder(stopped) == hash_folder(reported)


def test_kept_pictures_serve_a_changed_plan_too(folders, stopped, tmp_path, judged_model, count_drawn):
    settings = SETTINGS.model_copy(update={"seeds": [7], "classify": []})
    kept = len(list(stopped.parent.glob(".report.kept/*.png")))
    evaluate(*folders, stopped, settings, judged_model)
    assert kept == 7 and 0 < 10 - len(count_drawn) <= 4  # of 10 at this seed
    drawn = len(count_drawn)
    evaluate(*folders, tmp_path / "fresh", settings, judged_model)
    assert len(count_drawn) == drawn + 10 and hash_folder(tmp_path / "fresh") == hash_folder(stopped)


def test_another_lora_redraws_all_but_the_base_and_equals_a_fresh_report(
    folders, reported, tmp_path, judged_model, micro_family, count_drawn
):
    lora, captioned, run, choice = folders
    out = tmp_path / "report"
    shutil.copytree(reported, out)
    write_lora(lora, judged_model, micro_family, seed=1)
    evaluate(lora, captioned, run, choice, out, SETTINGS, judged_model)
    assert len(count_drawn) == 20 - 6 - 2  # weight 0: 6 with and 2 without the trigger words
    evaluate(lora, captioned, run, choice, tmp_path / "fresh", SETTINGS, judged_model)
    assert hash_folder(tmp_path / "fresh") == hash_folder(out)


def test_equal_pictures_are_drawn_once(folders, tmp_path, judged_model, count_drawn):
    lora, captioned, run, choice = folders
    settings = SETTINGS.model_copy(update={"prompts": ["a cat", "a cat"], "between": []})
    evaluate(lora, captioned, run, choice, tmp_path / "report", settings, judged_model)
    assert len(count_drawn) == 2 * 2
    samples = tmp_path / "report" / "samples" / "w1.00"
    assert (samples / "p000-s0.png").read_bytes() == (samples / "p001-s0.png").read_bytes()


def test_another_noise_schedule_of_the_training_draws_all_anew(
    folders, reported, tmp_path, judged_model, count_drawn, monkeypatch
):
    lora, captioned, run, choice = folders
    out, told = tmp_path / "report", []
    shutil.copytree(reported, out)
    monkeypatch.setattr(painter, "follow_noise_schedule", lambda *given: told.append(given[1:]))
    facts = read_json(lora / "facts.json")
    (lora / "facts.json").write_text(json.dumps({**facts, "zero_terminal_snr": True}))
    evaluate(lora, captioned, run, choice, out, SETTINGS, judged_model)
    # The base's pictures too: a LoRA's are compared with them.
    assert len(count_drawn) == 20 and told == [(True, lora / facts["file"])]

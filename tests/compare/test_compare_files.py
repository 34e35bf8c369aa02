"""`lorakiln compare`: what it draws, what it writes and says, what it keeps, and what it refuses."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.choose import choose
from lorakiln.choose.measuring import read_encoding
from lorakiln.compare import compare_files
from lorakiln.compare.entrants import Named, read_entrants
from lorakiln.evaluate import drawing
from lorakiln.evaluate.painter import load_adapter
from lorakiln.facts.choice import Choice
from lorakiln.facts.run import RunFacts
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form
from lorakiln.lora_files.writing import write_lora
from lorakiln.sampling import DrawJob, draw
from tests.choose.conftest import EVALUATE, SETTINGS
from tests.evaluate.conftest import count_drawn
from tests.export.conftest import trained
from tests.lora_files.conftest import random_adapter
from tests.page_flaws import list_flaws

__all__ = ["count_drawn"]


@pytest.fixture(scope="module")
def compared(comparing):
    """The folder, of three files and one of them in other names, at two weights."""
    assert comparing("a.safetensors", "b.safetensors:0.5", "c.safetensors", "d.safetensors:0.5=sks") == 0
    return comparing.out


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_every_file_is_drawn_with_its_weight_from_the_prompts_and_seeds_of_all(compared, comparing, judged_model):
    rows = read_jsonl(compared / "samples/metadata.jsonl")
    # Six prompts and, without their trigger words, the two of the grids; two seeds.
    assert len(rows) == 5 * (6 + 2) * 2 and {row["seed"] for row in rows} == {0, 7}
    assert {row["file_name"] for row in rows} == {
        path.relative_to(compared / "samples").as_posix() for path in compared.rglob("*.png")
    }
    family = load_family(judged_model)
    load_adapter(family, comparing.folder / "b.safetensors").set_weights(0.5)
    (expected,) = draw(family, [DrawJob("a blue cat, sks", 7, 32, 32)], 1, 5.0, batch_size=1)
    drawn = pixels(compared / "samples/B/w0.50/p001-s7.png")
    assert np.abs(drawn - np.asarray(expected)).max() <= 1
    assert np.abs(drawn - pixels(compared / "samples/w0.00/p001-s7.png")).max() > 2


def test_a_file_in_other_names_cannot_be_told_apart(compared):
    numbers = read_json(compared / "compare.json")
    assert [(one["letter"], one["weight"]) for one in numbers["files"]] == [("A", 1), ("B", 0.5), ("C", 1), ("D", 0.5)]
    assert len(numbers["pairs"]) == 6
    (pair,) = (one for one in numbers["pairs"] if (one["first"], one["second"]) == ("B", "D"))
    assert pair["difference"]["mean"] == pytest.approx(0, abs=1e-3) and pair["better"] is None
    assert numbers["base"]["worth"]["mean"] == pytest.approx(0, abs=1e-6)
    for one in numbers["files"]:
        assert one["bleed"]["mean"] > 0 and one["metrics"]["clip_score"]["w0.00"]
        parts = [one[name] for name in ("learned", "detail", "followed", "agreement", "whole")]
        assert one["worth"]["mean"] == pytest.approx(np.prod(parts), abs=1e-4)


def test_the_page_holds_all_in_one_file_and_its_pictures_come_when_they_are_seen(compared):
    page = (compared / "compare.html").read_text()
    headline = read_json(compared / "compare.json")["headline"]
    assert headline in page and "<script" not in page and list_flaws(page) == []
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    pairs = page.count('alt="training picture ')
    assert pairs >= 4 and page.count('alt="drawn, ') == pairs  # of each file one at least
    assert page.count("<img ") == page.count('loading="lazy"') == 5 * 6 * 2 + 2 * pairs


def test_again_nothing_is_drawn_and_the_same_is_written(compared, comparing, count_drawn, capsys):
    before = hash_folder(compared)
    assert comparing("a.safetensors", "b.safetensors:0.5", "c.safetensors", "d.safetensors:0.5=sks") == 0
    assert not count_drawn and hash_folder(compared) == before
    printed = capsys.readouterr().out
    table = printed[printed.index("A  ") : printed.index("pictures: ")].splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table[:4]] == ["A", "B", "C", "D"] and " at 0.50, sks" in table[1]
    assert [line.split()[0] for line in table[5:10]] == ["base", "A", "B", "C", "D"]
    # Another file beside two of them costs its own pictures alone.
    assert comparing("a.safetensors", "c.safetensors", "b.safetensors") == 0
    assert len(count_drawn) == 8 * 2


def test_what_a_stopped_comparison_has_drawn_is_not_drawn_again(comparing, count_drawn, monkeypatch, tmp_path):
    comparing = type(comparing)(comparing.folder, comparing.settings)
    comparing.out, saved, save = tmp_path / "out", [], drawing.save_picture

    def failing(*args):
        if len(saved) == 9:
            raise KeyboardInterrupt
        saved.append(args)
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "save_picture", failing)
        assert comparing("a.safetensors", "b.safetensors") == 130
    assert not comparing.out.exists()
    count_drawn.clear()
    assert comparing("a.safetensors", "b.safetensors") == 0
    assert len(count_drawn) == 3 * 8 * 2 - 9


def test_it_measures_as_the_choice_of_a_step_does(made, judged_model, micro_family, tmp_path):
    """The saved steps of a run, as files: the same numbers as `choose` has of them at weight 1."""
    run = shutil.copytree(made / "run", tmp_path / "run")
    files = sorted((run / "adapters").glob("*.safetensors"))
    for step, file in enumerate(files):
        diffusers_form.save(trained(micro_family, step, alpha=400.0), file)
    settings = SETTINGS.model_copy(update={"weights": [1.0], "checkpoints": "all"})
    # The last bits of a picture depend on the batch that it is drawn in.
    evaluate = EVALUATE.model_copy(update={"seeds": EVALUATE.seeds[: settings.most_seeds], "batch_size": 1})
    choose(run, made / "captioned", tmp_path / "choice", settings, evaluate, judged_model)
    facts = RunFacts.read(run / "facts.json")
    entrants = read_entrants([Named(file) for file in files], judged_model, facts.trigger)
    out, encoding = tmp_path / "out", read_encoding(facts)
    compared = compare_files(entrants, made / "captioned", out, evaluate, judged_model, facts.trigger, encoding)
    numbers = read_json(out / "compare.json")
    candidates = Choice.read(tmp_path / "choice/choice.json").candidates
    assert len(numbers["files"]) == len(candidates) == 3
    for one, candidate in zip(numbers["files"], candidates, strict=True):
        for name in ("learned", "detail", "followed", "agreement", "whole"):
            assert one[name] == pytest.approx(getattr(candidate, name), abs=1e-3), name
        assert one["state"] == candidate.state
    chosen = read_jsonl(tmp_path / "choice/samples/metadata.jsonl")
    assert {row["key"] for row in chosen} == {row["key"] for row in read_jsonl(out / "samples/metadata.jsonl")}
    assert numbers["headline"] == compared.verdict.headline


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a.safetensors"], "2 to 26 files are compared, not 1"),
        (["a.safetensors", "a.safetensors"], "a.safetensors: is given twice"),
        (["a.safetensors", "b.safetensors:0"], "b.safetensors: weight 0 is the base"),
        (["a.safetensors", "none.safetensors"], "none.safetensors: no such file"),
        (["a.safetensors", "b.safetensors:much"], "'much' is no weight"),
        (["a.safetensors", "b.safetensors", "evaluate.stepps=2"], "evaluate.stepps"),
    ],
)
def test_what_cannot_be_compared_is_told(comparing, capsys, count_drawn, given, told):
    assert comparing(*given) == 1
    shown = capsys.readouterr().err
    assert told in shown and "fix: " in shown and not count_drawn


def test_a_file_for_another_base_is_refused_by_its_name_before_anything_is_drawn(
    comparing, capsys, count_drawn, micro_family
):
    adapter = random_adapter(micro_family)
    name = next(iter(adapter.layers))
    elsewhere = {name.replace(".0.", ".7.", 1): adapter.layers[name]}
    assert name not in elsewhere
    file = comparing.folder / "other.safetensors"
    write_lora(type(adapter)(elsewhere), file, "diffusers")
    assert comparing("a.safetensors", str(file)) == 1
    told = capsys.readouterr().err
    assert f"{file}: the LoRA adapts " in told and "use the base model that the LoRA was trained on" in told
    assert not count_drawn


def test_an_embedding_is_an_entrant_and_one_for_another_base_is_refused_by_its_name(comparing, judged_model, capsys):
    for name, width in (("fits", 24), ("wide", 32)):
        vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
        save_tensors(comparing.folder / f"{name}.safetensors", {"emb_params": vectors})
    given = [Named(comparing.folder / f"{name}.safetensors") for name in ("a", "fits")]
    assert [one.rank for one in read_entrants(given, judged_model, "sks")] == [4, None]
    assert comparing("a.safetensors", str(comparing.folder / "wide.safetensors")) == 1
    assert "wide.safetensors: the embedding of wide is 32 wide" in capsys.readouterr().err


def test_noise_schedules_are_not_mixed(comparing, capsys, micro_family):
    adapter = random_adapter(micro_family)
    file = comparing.folder / "ended.safetensors"
    write_lora(type(adapter)(adapter.layers, {"ss_zero_terminal_snr": "True"}), file, "kohya")
    assert comparing("a.safetensors", str(file)) == 1
    assert f"{file}: it was trained with a noise schedule that ends without signal" in capsys.readouterr().err


def test_each_file_is_drawn_with_the_words_that_it_tells(comparing, judged_model, micro_family):
    adapter = random_adapter(micro_family)
    file = comparing.folder / "told.safetensors"
    write_lora(type(adapter)(adapter.layers, {"modelspec.trigger_phrase": "mycat"}), file, "kohya")
    given = [Named(file), Named(file, trigger="other"), Named(comparing.folder / "a.safetensors")]
    assert [one.trigger for one in read_entrants(given, judged_model, "sks")] == ["mycat", "other", "sks"]


def test_without_an_experiment_it_says_what_is_missing(comparing, capsys):
    comparing = type(comparing)(comparing.folder, [])
    assert comparing("a.safetensors", "b.safetensors") == 1
    assert "no experiment is named" in capsys.readouterr().err

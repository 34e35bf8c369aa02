"""The `choose` stage: what it draws, what it writes, and what it reuses."""

import json

import numpy as np
import pytest

from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, read_jsonl, write_json
from lorakiln.choose import choose
from lorakiln.choose.stage import select_adapters
from lorakiln.console.errors import UserError
from lorakiln.evaluate import drawing, evaluate, painter
from lorakiln.export import export
from lorakiln.facts.choice import Choice, read_choice
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import SavedAdapter
from lorakiln.schema.export import ExportSettings
from tests.choose.conftest import EVALUATE, SETTINGS

STEPS = (10, 15, 20)


@pytest.fixture
def count_drawn(monkeypatch):
    drawn, draw = [], painter.draw
    monkeypatch.setattr(
        painter,
        "draw",
        lambda family, jobs, *more, **named: (drawn.extend(jobs), draw(family, jobs, *more, **named))[1],
    )
    return drawn


def test_it_draws_by_halving_and_tells_every_candidate(chosen, tmp_path):
    choice = Choice.read(chosen / "choice.json")
    assert [(one.step, one.weight) for one in choice.candidates] == [(s, w) for s in STEPS for w in (0.5, 1.0)]
    # Six candidates with six prompts, then the best three with all seven, two seeds each; the base with all.
    assert sorted(one.pictures for one in choice.candidates) == [12, 12, 12, 14, 14, 14]
    rows = read_jsonl(chosen / "samples" / "metadata.jsonl")
    assert len(rows) == 6 * 12 + 3 * 2 + 7 * 2
    assert {row["file_name"] for row in rows} == {
        path.relative_to(chosen / "samples").as_posix() for path in chosen.rglob("*.png")
    }
    assert sum(not row["weight"] for row in rows) == 14
    assert all(0 < one.diversity.low <= one.diversity.mean <= one.diversity.high for one in choice.candidates)
    assert choice.headline and not list(tmp_path.glob(".*"))


def test_the_last_round_is_drawn_without_the_trigger_words_too(run, captioned, judged_model, tmp_path, chosen):
    out, asked = tmp_path / "bare", EVALUATE.model_copy(update={"without_trigger": True})
    choose(run, captioned, out, SETTINGS, asked, judged_model)
    choice, before = read_choice(out), read_choice(chosen)
    finalists = [one for one in choice.candidates if one.prompts == 7]
    assert len(finalists) == 3 and all(0 <= one.bleed.low <= one.bleed.mean <= one.bleed.high for one in finalists)
    assert [one.bleed for one in choice.candidates if one not in finalists] == [None] * 3
    rows = [row for row in read_jsonl(out / "samples" / "metadata.jsonl") if not row["with_trigger"]]
    # Two prompts of the grid from two seeds: the base's and the finalists'.
    assert len(rows) == 2 * 2 * (1 + 3) and {row["prompt"] for row in rows} == {"a red cat", "a blue cat"}
    # The mean over prompts of how far each is from the base's picture of the same prompt and seed.
    for one in finalists:
        folder = f"step{one.step:08d}/w{one.weight:.2f}-without-trigger/"
        values = [row["bleed"] for row in rows if row["file_name"].startswith(folder)]
        assert one.bleed.mean == pytest.approx(np.mean(values), abs=1e-5)
    # What is drawn beside it changes nothing of the worth.
    assert [one.worth for one in choice.candidates] == [one.worth for one in before.candidates]


def test_each_picture_is_drawn_with_its_own_step(run, captioned, judged_model, tmp_path, chosen, capsys):
    """A picture of a candidate is the very picture that evaluating the step's own file draws; at weight 1 whatever
    greater ones were asked for."""
    one = tmp_path / "one"
    facts = read_json(run / "facts.json")
    facts["adapters"] = [entry for entry in facts["adapters"] if entry["step"] == 15]
    write_json(tmp_path / "only" / "facts.json", facts)
    (tmp_path / "only" / "adapters").symlink_to(run / "adapters")
    settings = SETTINGS.model_copy(update={"checkpoints": "last", "weights": [1.5]})
    choose(tmp_path / "only", captioned, one, settings, EVALUATE, judged_model)
    assert "choose: weight 1 is drawn, too" in capsys.readouterr().out
    assert [candidate.weight for candidate in read_choice(one).candidates] == [1.0, 1.5]
    alone = {path.name: path.read_bytes() for path in (one / "samples/step00000015/w1.00").iterdir()}
    among = {path.name: path.read_bytes() for path in (chosen / "samples/step00000015/w1.00").iterdir()}
    assert among and among.items() <= alone.items()
    other = (chosen / "samples/step00000010/w1.00/p000-s0.png").read_bytes()
    assert other != among["p000-s0.png"]


def test_again_it_draws_nothing_and_writes_the_same(chosen, run, captioned, judged_model, count_drawn):
    before = hash_folder(chosen)
    choose(run, captioned, chosen, SETTINGS, EVALUATE, judged_model)
    assert not count_drawn and hash_folder(chosen) == before


def test_what_a_stopped_choice_has_drawn_is_not_drawn_again(
    run, captioned, judged_model, tmp_path, chosen, monkeypatch, count_drawn
):
    saved, save = [], drawing.save_picture

    def failing(*args):
        if len(saved) == 20:
            raise SystemExit(143)
        saved.append(args)
        save(*args)

    out = tmp_path / "again"
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(drawing, "save_picture", failing)
        choose(run, captioned, out, SETTINGS, EVALUATE, judged_model)
    count_drawn.clear()
    choose(run, captioned, out, SETTINGS, EVALUATE, judged_model)
    assert len(count_drawn) == len(list(chosen.rglob("*.png"))) - 20
    assert hash_folder(out) == hash_folder(chosen)


def test_of_one_saved_step_there_is_nothing_to_choose(run, captioned, judged_model, tmp_path, capsys, count_drawn):
    facts = read_json(run / "facts.json")
    write_json(run / "facts.json", facts | {"adapters": facts["adapters"][-1:]})
    choose(run, captioned, tmp_path / "choice", SETTINGS, EVALUATE, judged_model)
    assert "one saved step, nothing to choose" in capsys.readouterr().out and not count_drawn
    assert read_choice(tmp_path / "choice") == Choice() == read_choice(tmp_path / "none")


def test_which_steps_are_chosen_among():
    adapters = [SavedAdapter(step=s, file=str(s), validation_loss=loss) for s, loss in ((20, 0.3), (10, 0.2))]
    steps = {name: [one.step for one in select_adapters(adapters, name)] for name in ("auto", "all", "last", "best")}
    assert steps == {"auto": [10, 20], "all": [10, 20], "last": [20], "best": [10]}
    assert select_adapters(adapters[:1], "auto") == select_adapters(adapters, "none") == []
    with pytest.raises(UserError, match="no saved step has a validation loss"):
        select_adapters([one.changed(validation_loss=None) for one in adapters], "best")


def test_another_base_is_refused_before_anything_is_drawn(run, captioned, judged_model, tmp_path, count_drawn):
    facts = read_json(run / "facts.json")
    write_json(run / "facts.json", facts | {"base": facts["base"] | {"hash": "0" * 64}})
    with pytest.raises(UserError, match="trained on another base model"):
        choose(run, captioned, tmp_path / "choice", SETTINGS, EVALUATE, judged_model)
    assert not count_drawn


def test_pictures_that_clip_does_not_know_recommend_nothing(run, captioned, judged_model, tmp_path):
    facts = read_json(captioned / "dataset.json") | {"out_of_domain": "They are photographs."}
    write_json(captioned / "dataset.json", facts)
    choose(run, captioned, tmp_path / "choice", SETTINGS, EVALUATE, judged_model)
    choice = read_choice(tmp_path / "choice")
    assert choice.recommended is None and not choice.can_tell
    assert "cannot be told" in choice.headline and "photographs" in choice.headline
    assert len(choice.candidates) == 6


@pytest.fixture
def recommending(chosen):
    """The choice with step 15 at weight 0.5 recommended, whatever the random model was found to draw."""
    use = {"step": 15, "weight": 0.5, "low": 0.5, "high": 1.0, "picture": "samples/step00000015/w0.50/p000-s0.png"}
    told = read_json(chosen / "choice.json") | {"recommended": use, "headline": "Use step 15.", "advice": ["Go <on>."]}
    write_json(chosen / "choice.json", told)
    return chosen


def test_export_takes_the_recommended_step_and_tells_its_weight(
    recommending, run, captioned, judged_model, tmp_path, write_run_beside
):
    out = tmp_path / "lora"
    export(run, captioned, recommending, out, ExportSettings(name="x"), judged_model)
    facts = LoraFacts.read(out / "facts.json")
    assert facts.step == 15 and facts.recommended.weight == 0.5
    assert json.loads((out / "x.json").read_text())["preferred weight"] == 0.5
    card = (out / "README.md").read_text()
    assert "`<lora:x:0.5>`" in card and "Weights from 0.5 to 1 were found as good." in card
    # A file that does only half at weight 1 needs twice the weight.
    export(run, captioned, recommending, out, ExportSettings(name="x", strength=0.5), judged_model)
    assert json.loads((out / "x.json").read_text())["preferred weight"] == 1.0
    # Another step than the recommended one takes nothing of it.
    export(run, captioned, recommending, out, ExportSettings(name="x", which="last"), judged_model)
    facts = LoraFacts.read(out / "facts.json")
    assert facts.step == 20 and facts.recommended is None
    assert json.loads((out / "x.json").read_text())["preferred weight"] == 1.0


@pytest.fixture
def write_run_beside(run):
    """What `export` reads of a run beside its adapters."""
    write_json(run / "tracker.json", {"kind": "none", "id": None, "project": None, "url": None})


def test_the_report_shows_the_steps_and_takes_the_bases_pictures(
    recommending, run, captioned, judged_model, tmp_path, write_run_beside, count_drawn
):
    lora, out = tmp_path / "lora", tmp_path / "report"
    export(run, captioned, recommending, lora, ExportSettings(name="x"), judged_model)
    count_drawn.clear()
    evaluate(lora, captioned, run, recommending, out, EVALUATE.model_copy(update={"seeds": [0, 7]}), judged_model)
    assert len(count_drawn) == 7 * 2  # by the LoRA alone
    page = (out / "report.html").read_text()
    assert "<b>Use step 15.</b>" in page and "Go &lt;on&gt;." in page and page.count("use this") == 1
    assert page.count("seeds vary") == 6
    # The worth, then two measures a chart, each with a point a step.
    assert [
        page.count(f"<figcaption>{title} by step<") for title in ("Worth", "Learned and followed", "Details and seeds")
    ] == [1, 1, 1]
    assert all(f"{name} by step, at weight 0.50" in page for name in ("Worth", "Details and seeds"))
    assert page.count('<th scope="row">step ') == 3 and "weight=0.50" not in page

"""A metric that is no part of the package is measured, shown, judged by and looked for by a sweep; nobody names it."""

import re
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.evaluate import evaluate
from lorakiln.evaluate.comparison import Evidence, compare
from lorakiln.evaluate.remarks import remark_on_trigger
from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.shots import plan_shots
from lorakiln.evaluate.verdict import choose_tone, decide_verdict, format_rule
from lorakiln.metrics import METRICS, Caveat, Metric, Scored, list_in_report_order, list_metrics
from lorakiln.sweep.objectives import is_less_better, list_possible_names, orient_values, select_values
from lorakiln.worth.intervals import Estimate
from tests.evaluate.conftest import metrics_of
from tests.evaluate.test_evaluate_stage import SETTINGS


class Darkness(Metric):
    """How dark a picture is, 0 to 1; CLIP is not asked."""

    def of_pictures(self, inputs):
        return [None if shot.prompt.index == 1 else self.of_file(file) for shot, file in self.pairs(inputs)]

    def of_training_pictures(self, inputs):
        return float(np.mean([self.of_file(file) for file in inputs.trained]))

    @staticmethod
    def pairs(inputs):
        return zip(inputs.shots, inputs.files, strict=True)

    @staticmethod
    def of_file(file):
        with Image.open(file) as image:
            return 1 - float(np.asarray(image.convert("L")).mean()) / 255


DARKNESS = Darkness(
    "darkness", "darkness of the pictures", "1 minus mean lightness", "learned", better="less", digits=4
)


@dataclass(frozen=True)
class Count:
    pictures: int
    caveat: Caveat | None = None

    def as_dict(self):
        return {"pictures": self.pictures}


@pytest.fixture
def darkness():
    """A kind with a metric and a finding."""

    def examine(inputs, scored, weight):
        return Count(sum(item.shot.weight == weight for item in scored))

    kind = SimpleNamespace(list_metrics=lambda settings: [DARKNESS], examine=examine, RULE="Pictures are counted.")
    METRICS.add("light", kind)
    yield
    METRICS.remove("light")


def test_an_added_metric_is_in_all_that_the_stage_writes(folders, tmp_path, judged_model, darkness, capsys):
    out = tmp_path / "report"
    evaluate(*folders, out, SETTINGS, judged_model)
    rows = [row for row in read_jsonl(out / "samples" / "metadata.jsonl") if row["with_trigger"]]
    assert all((row["darkness"] is None) == (row["prompt"] == "a blue cat") for row in rows)
    at_base = [row["darkness"] for row in rows if row["weight"] == 0 and row["darkness"] is not None]
    row = next(row for row in rows if row["darkness"] is not None)
    assert row["darkness"] == pytest.approx(Darkness.of_file(out / "samples" / row["file_name"]), abs=1e-6)
    numbers = read_json(out / "metrics.json")
    assert numbers["darkness"]["w0.00"]["mean"] == pytest.approx(np.mean(at_base), abs=1e-6)
    assert set(numbers["darkness"]) == {"w0.00", "w1.00", "training_pictures"}
    assert "difference" in numbers["darkness"]["w1.00"]
    assert numbers["darkness"]["training_pictures"]["mean"] == pytest.approx(0.6, abs=0.2)
    # Without a name on boards it stays away from them.
    assert "darkness" not in read_json(out / "scores.json")
    # Pictures at weight 1: 3 prompts and 1 without its trigger words, of 2 seeds each.
    assert numbers["light"] == {"pictures": 8}
    page = (out / "report.html").read_text()
    assert "darkness of the pictures<small>1 minus mean lightness; among the training pictures" in page
    assert "Pictures are counted. Where likeness is the only measure" in page
    shown = re.search(r"darkness of the pictures</?\w*>?.*?<b>(0\.\d+)</b>", page, re.DOTALL)
    assert shown and shown[1] == f"{numbers['darkness']['w0.00']['mean']:.4f}"
    assert "darkness" in (out / "plots" / "by_weight.csv").read_text().splitlines()[0].split(",")
    assert sum(",darkness," in line for line in (out / "plots" / "scores.csv").read_text().splitlines()) == 2
    assert "darkness of the" in capsys.readouterr().out


def test_a_sweep_can_look_for_it_the_less_the_better(darkness):
    assert "darkness" in list_possible_names(SETTINGS.model_dump())
    assert is_less_better("darkness") and not is_less_better("likeness") and is_less_better("validation_loss")
    numbers = {"image_similarity": 0.5, "clip_score": 20.0, "darkness": 0.25}
    names = ["likeness", "darkness"]
    assert orient_values(select_values(numbers, names), names) == (0.5, -0.25)


def estimate(mean, spread=0.01):
    return Estimate(mean, mean - spread, mean + spread, 8)


def verdict(base, lora, ceiling, role="learned"):
    """On one metric of which less is better, and the prompts followed as before."""
    metric = Darkness("darkness", "darkness", "", role, better="less")
    more = Metric("likeness", "likeness", "", "learned" if role == "prompt" else "other")
    values = {"darkness": {0.0: estimate(base), 1.0: estimate(lora)}, "likeness": {0.0: estimate(0.1)}}
    differences = {"darkness": {1.0: estimate(lora - base)}, "likeness": {1.0: estimate(0.5)}}
    ceilings = {"likeness": 0.6} | ({} if ceiling is None else {"darkness": ceiling})
    summary = Summary(values, differences, ceilings, findings={"count": Count(3)})
    return decide_verdict([metric, more], summary, 1.0)


@pytest.mark.parametrize(
    ("base", "lora", "ceiling", "said"),
    [
        (0.9, 0.3, 0.2, "has learned what the training pictures show"),
        (0.9, 0.85, 0.2, "slight: 7% of the way"),
        (0.9, 0.5, 0.2, "in part: 57% of the way"),
        (0.3, 0.9, 0.2, "leads away"),
        (0.3, 0.3, 0.2, "No effect"),
        # The base is there already.
        (0.3, 0.1, 0.4, "slight: 0% of the way"),
    ],
)
def test_what_falls_is_learned_where_less_is_better(base, lora, ceiling, said):
    assert said in verdict(base, lora, ceiling).headline


def test_a_price_is_told_in_the_direction_that_it_has():
    assert "at a price: darkness clearly rose" in verdict(0.3, 0.9, None, "prompt").headline
    assert "darkness did not clearly rise" in verdict(0.9, 0.3, None, "prompt").headline
    less, more = Metric("a", "a", "", "prompt", better="less"), Metric("b", "b", "", "prompt")
    fall, rise = estimate(-0.5), estimate(0.5)
    assert [choose_tone(less, fall), choose_tone(less, rise)] == ["good", "bad"]
    assert [choose_tone(more, fall), choose_tone(more, rise)] == ["bad", "good"]


@pytest.mark.parametrize(
    ("proven", "tone", "said"), [(True, "bad", "but they are grey."), (False, "mixed", "but they are grey.")]
)
def test_a_kind_s_doubt_keeps_the_verdict_from_praising(proven, tone, said):
    metric = Metric("likeness", "likeness", "", "learned")
    values, differences = {"likeness": {0.0: estimate(0.1), 1.0: estimate(0.6)}}, {"likeness": {1.0: estimate(0.5)}}
    findings = {"count": Count(3), "grey": Count(3, Caveat("they are grey", proven))}
    found = decide_verdict([metric], Summary(values, differences, {"likeness": 0.6}, findings=findings), 1.0)
    assert (found.tone, said in found.headline) == (tone, True), found
    # What is proven goes before what is not known.
    both = {"blue": Count(3, Caveat("they may be blue", False)), "grey": Count(3, Caveat("they are grey", True))}
    found = decide_verdict([metric], Summary(values, differences, {"likeness": 0.6}, findings=both), 1.0)
    assert (found.tone, "they are grey" in found.headline) == ("bad", True)
    praised = decide_verdict(
        [metric], Summary(values, differences, {"likeness": 0.6}, findings={"count": Count(3)}), 1.0
    )
    assert praised.tone == "good"


def test_the_order_of_tables_and_of_rows():
    questions = [
        {"name": "thing", "labels": ["a", "b"]},
        {"name": "style", "labels": ["c", "d"], "answer": "c"},
    ]
    metrics = metrics_of(questions)
    # Metrics that are added since have their places among these.
    in_report = [
        "image_similarity",
        "held_out_similarity",
        "retrieval",
        "right_style",
        "right_thing",
        "clip_score",
        "seed_similarity",
        "detail_similarity",
        "nearest_similarity",
        "copies",
        "damage",
        "bleed",
    ]
    assert [metric.name for metric in metrics if metric.name in in_report] == in_report
    # Rows of samples/metadata.jsonl have them by their kinds' names.
    settings = SETTINGS.model_copy(update={"classify": []})
    by_kind = [
        "bleed",
        "clip_score",
        "copies",
        "damage",
        "detail_similarity",
        "held_out_similarity",
        "image_similarity",
        "nearest_similarity",
        "retrieval",
        "seed_similarity",
    ]
    assert [metric.name for metric in list_metrics(settings) if metric.name in by_kind] == by_kind
    placed = [metric for metric in metrics if metric.place != DARKNESS.place]
    assert list_in_report_order([DARKNESS, *placed])[-1] is DARKNESS


def test_a_trigger_that_turns_it_down_turns_the_lora_on():
    metric = Metric("darkness", "darkness", "", "learned", better="less")
    on_grid = Summary({"darkness": {0.0: estimate(0.9), 1.0: estimate(0.3)}})
    plan = SimpleNamespace(main=1.0, grid_prompts=["a"])
    for without, words in ((0.8, "turn the LoRA on"), (0.4, "do little")):
        bare = Summary({"darkness": {1.0: estimate(without)}})
        results = SimpleNamespace(metrics=[metric], on_grid=on_grid, bare=bare)
        assert f"The trigger words {words}:" in remark_on_trigger(results, plan)


def test_a_metric_and_a_finding_of_one_name_are_refused():
    plan = plan_shots(SETTINGS, "", (8, 8), "base", "lora")
    scored = [Scored(shot, np.ones(1), {"light": 1.0}) for shot in plan.shots]
    with pytest.raises(ValueError, match="both called 'light'"):
        compare(scored, plan, [Metric("light", "light", "", "other")], Evidence(findings={"light": Count(1)}))


def test_the_rule_holds_what_the_kinds_demand():
    assert "Its pictures must be pictures of something: the seeds of 75% of the prompts agree" in format_rule()

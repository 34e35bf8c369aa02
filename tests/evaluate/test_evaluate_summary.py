"""The few lines that a terminal shows."""

import pytest

from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.summary_text import format_summary
from lorakiln.schema.evaluate import Classification
from lorakiln.worth.intervals import Estimate
from tests.evaluate.conftest import metrics_of


@pytest.mark.parametrize("weight", [1.0, 0.123456])
def test_the_table_fits_a_terminal_and_loses_nothing(weight):
    classify = [
        Classification(name="style_of_the_drawing", labels=["outlined", "flat"], answer="outlined"),
        Classification(name="thing", labels=["a cat", "a dog"]),
    ]
    metrics = metrics_of(classify)
    value = Estimate(0.6163, 0.6001, 0.6402, 60)
    wide = Estimate(-0.4512, -0.5001, -0.4203, 60)
    values = {metric.name: {0.0: value, weight: value} for metric in metrics}
    text = format_summary(metrics, Summary(values, {metric.name: {weight: wide} for metric in metrics}), weight)
    table = text[: text.index("The LoRA")].splitlines()
    assert max(map(len, table)) <= 80
    joined = " ".join(" ".join(table).split())
    assert joined.count("-0.451 (-0.500 to -0.420)") == 6 and joined.count("-45 points (-50 to -42)") == 4
    assert joined.count("0.616 0.616") == 6 and joined.count("62% 62%") == 4 and "…" not in text
    for word in ("nearest", "outlined", "likeness", "falls", "score"):
        assert word in joined

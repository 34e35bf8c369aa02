"""Scores and summaries on embeddings built by hand."""

import numpy as np
import pytest

from lorakiln.evaluate import score_summaries
from lorakiln.evaluate.comparison import Evidence, compare
from lorakiln.evaluate.shots import plan_shots
from lorakiln.evaluate.verdict import decide_verdict
from lorakiln.metrics import MetricInputs, Prompt, image_similarity
from lorakiln.metrics._cosines import compute_mean_cosine
from lorakiln.metrics.coherence import Coherence
from lorakiln.metrics.questions import find_expected_label
from lorakiln.schema.evaluate import Classification, EvaluateSettings
from tests.evaluate.conftest import metrics_of

# Texts are the axes of a small space.
AXES = {"red": 0, "blue": 1, "drawn": 2, "photo": 3}
COLOUR = Classification(name="colour", labels=["red", "blue"])
STYLE = Classification(name="style", labels=["photo", "drawn"], answer="drawn")


WHOLE = Coherence(1.0, 0.9, 1.1)  # as the good style of the demo has it


def embed_texts(texts):
    return np.stack([np.eye(5)[AXES.get(text, 4)] for text in texts])


def unit(*values):
    vector = np.array([*values, *[0.0] * (5 - len(values))])
    return vector / np.linalg.norm(vector)


def inputs_of(shots, embeddings, references):
    return MetricInputs(
        shots, embeddings, references, embed_texts, files=[], trained=[], embed_pictures=None, embed_parts=None
    )


def score_pictures(shots, embeddings, references, classify):
    # There are no files, at whose pixels and patches some metrics look.
    metrics = [metric for metric in metrics_of(classify) if metric.name not in ("damage", "detail_similarity")]
    return score_summaries.score_pictures(inputs_of(shots, embeddings, references), metrics)


def evidence(ceiling, coherence, out_of_domain=None):
    ceilings = {} if ceiling is None else {"image_similarity": ceiling}
    return Evidence(ceilings, {} if coherence is None else {"coherence": coherence}, out_of_domain)


def plan_of(prompts, seeds=(0, 1)):
    settings = EvaluateSettings(
        prompts=prompts, seeds=list(seeds), weights=[0, 1], between=[], without_trigger=False, classify=[COLOUR, STYLE]
    )
    return plan_shots(settings, "", (8, 8), "base", "lora")


def test_scores_are_cosines_and_answers():
    plan = plan_of(["red"], seeds=(0,))
    embeddings = np.stack([unit(3, 4, 0, 1), unit(1, 2, 2, 0)])
    references = np.stack([unit(1), unit(0, 0, 1)])
    base, lora = score_pictures(plan.shots, embeddings, references, [COLOUR, STYLE])
    assert base.values["clip_score"] == pytest.approx(100 * 3 / np.sqrt(26))
    assert base.values["image_similarity"] == pytest.approx(0.5 * 3 / np.sqrt(26))
    assert base.values["nearest_similarity"] == pytest.approx(3 / np.sqrt(26))
    # The prompt says red; both lean to blue. The first is rather a photo, the second rather drawn.
    assert (base.values["right_colour"], base.values["right_style"]) == (0.0, 0.0)
    assert (lora.values["right_colour"], lora.values["right_style"]) == (0.0, 1.0)
    assert lora.values["nearest_similarity"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "text", "expected"),
    [
        (["red", "dark red", "blue"], "a cat, Dark Red background", "dark red"),
        (["apple", "pineapple"], "a pineapple", "pineapple"),
        (["apple", "pear"], "a pineapple", None),
        (["a cat", "a cation"], "a cat, red", "a cat"),
    ],
)
def test_the_longest_label_that_stands_in_the_prompt(labels, text, expected):
    assert find_expected_label(Classification(name="x", labels=labels), Prompt(0, text, text)) == expected


def test_prompts_without_a_label_are_left_out_of_the_fraction():
    plan = plan_of(["red", "green"], seeds=(0,))
    embeddings = np.stack([unit(1), unit(1), unit(0, 1), unit(1)])
    scored = score_pictures(plan.shots, embeddings, embeddings[:1], [COLOUR])
    numbers = compare(scored, plan, metrics_of([COLOUR]), Evidence()).numbers["right_colour"]
    assert numbers["w0.00"]["mean"] == 1.0 and numbers["w1.00"]["mean"] == 0.0
    assert numbers["w1.00"]["difference"] == {"mean": -1.0}


def test_differences_are_paired_by_prompt():
    prompts = ["red"] * 10
    plan = plan_of(prompts, seeds=(0,))
    level = np.linspace(0.1, 0.8, 10)
    # Prompts differ much, but each gains about 0.05 with the LoRA.
    cosines = np.concatenate([level, level + 0.05 + 0.01 * np.sin(np.arange(10))])
    embeddings = np.stack([np.array([c, 0, 0, 0, np.sqrt(1 - c**2)]) for c in cosines])
    scored = score_pictures(plan.shots, embeddings, np.stack([unit(1)]), [])
    entry = compare(scored, plan, metrics_of([]), Evidence()).numbers["image_similarity"]
    gain = cosines[10:].mean() - cosines[:10].mean()
    assert entry["w1.00"]["difference"]["mean"] == pytest.approx(gain, abs=1e-6)
    assert 0.04 < entry["w1.00"]["difference"]["low"] < entry["w1.00"]["difference"]["high"] < 0.06
    # Unpaired, the intervals overlap widely.
    assert entry["w0.00"]["high"] > entry["w1.00"]["low"]


def test_seed_similarity_is_the_mean_over_pairs():
    a, b, c = unit(1), unit(0, 1), unit(1, 1)
    expected = (a @ b + a @ c + b @ c) / 3
    assert compute_mean_cosine(np.stack([a, b, c])) == pytest.approx(expected)


def verdict_on(base, lora, prompts=8, ceiling=None, coherence=WHOLE):
    plan = plan_of(["red"] * prompts, seeds=(0,))
    rng = np.random.default_rng(0)
    rows = [np.abs(np.array(base) + 0.02 * rng.random(5)) for _ in range(prompts)]
    rows += [np.abs(np.array(lora) + 0.02 * rng.random(5)) for _ in range(prompts)]
    embeddings = np.stack([row / np.linalg.norm(row) for row in rows])
    scored = score_pictures(plan.shots, embeddings, np.stack([unit(0, 0, 1)]), [])
    results = compare(scored, plan, metrics_of([]), evidence(ceiling, coherence))
    return decide_verdict(metrics_of([]), results.overall, plan.main)


def test_verdicts_follow_the_rule():
    # Axis 0: what the prompt asks for; axis 2: the training pictures.
    assert verdict_on([1, 0, 0, 0, 1], [1.6, 0, 1, 0, 1], ceiling=0.6).tone == "good"
    # With one training picture nobody knows how like is like enough.
    alone = verdict_on([1, 0, 0, 0, 1], [1.6, 0, 1, 0, 1])
    assert alone.tone == "mixed" and "how far cannot be told" in alone.headline
    assert "slight: 0% of the way" in verdict_on([1, 0, 0.5, 0, 1], [1.6, 0, 1, 0, 1], ceiling=0.2).headline
    price = verdict_on([1, 0, 0, 0, 1], [0.2, 0, 1, 0, 1])
    assert price.tone == "mixed" and "CLIP score" in price.headline
    assert "No effect" in verdict_on([1, 0, 0.5, 0, 1], [1, 0, 0.5, 0, 1]).headline
    assert verdict_on([1, 0, 1, 0, 1], [1, 0, 0.2, 0, 1]).tone == "bad"
    assert "Too few" in verdict_on([1, 0, 0, 0, 1], [1, 0, 1, 0, 1], prompts=3).headline


def likeness(cosine):
    """A picture that is so like the training pictures, and as near to the prompt as any other."""
    return [1, 0, cosine, 0, np.sqrt(max(0.0, 2 - cosine**2))]


@pytest.mark.parametrize(
    ("name", "base", "lora", "ceiling", "coherence", "tone", "said"),
    [
        # Measured on the tiny family: cosines (times the length of the vectors above), and what the pictures show.
        ("ten steps at 1e-4", 0.148, 0.150, 0.64, WHOLE, "mixed", "slight: 0% of the way"),
        ("random weights", 0.100, 0.102, 0.72, Coherence(0.0, 0.6, 0.09), "mixed", "slight: 0% of the way"),
        ("weight 0", 0.148, 0.148, 0.64, WHOLE, "unknown", "No effect"),
        ("a character", 0.154, 0.566, 0.64, WHOLE, "good", "has learned what the training pictures show"),
        ("the character, with a better base", 0.231, 0.621, 0.654, WHOLE, "good", "has learned"),
        ("another set's LoRA", 0.30, 0.20, 0.64, WHOLE, "bad", "leads away"),
        # The four jobs of the character's old settings: debris in its colours, each seed another heap.
        ("debris, rank 16, 1e-3", 0.159, 0.442, 0.640, Coherence(0.5, 0.96, 1.3), "bad", "in 50% of the prompts"),
        ("debris, rank 16, 5e-4", 0.159, 0.377, 0.640, Coherence(0.25, 1.0, 1.2), "bad", "in 75% of the prompts"),
        ("debris, rank 4, 1e-3", 0.159, 0.364, 0.640, Coherence(0.125, 1.0, 1.3), "bad", "nothing that can be"),
        ("debris, rank 4, 5e-4", 0.159, 0.272, 0.640, Coherence(0.0, 0.8, 1.3), "bad", "nothing that can be"),
        # However like in the mean: what shows nothing is not praised.
        ("noise in the colours", 0.159, 0.60, 0.640, Coherence(1.0, 0.4, 0.09), "bad", "like noise"),
        ("blurs in the colours", 0.159, 0.60, 0.640, Coherence(1.0, 0.07, 1.4), "bad", "they are blurs"),
        ("the good character at weight 3", 0.231, 0.270, 0.654, Coherence(0.97, 0.8, 1.0), "mixed", "slight: 9%"),
        ("one seed a prompt", 0.159, 0.60, 0.640, Coherence(None, 1.0, 1.0), "mixed", "needs two or more"),
        ("not measured", 0.159, 0.60, 0.640, None, "mixed", "was not measured"),
        ("half of the way", 0.159, 0.442, 0.640, WHOLE, "mixed", "in part: 59% of the way"),
    ],
)
def test_planted_cases_get_the_sentence_they_deserve(name, base, lora, ceiling, coherence, tone, said):
    length = np.sqrt(3.0)
    found = exact_verdict(length * base, length * lora, ceiling, coherence)
    assert (found.tone, said in found.headline) == (tone, True), (name, found)


def test_a_model_that_does_not_know_such_pictures_gives_no_verdict():
    plan = plan_of(["red"] * 8, seeds=(0,))
    rows = [unit(*likeness(value + 1e-4 * n)) for value in (0.2, 1.0) for n in range(8)]
    scored = score_pictures(plan.shots, np.stack(rows), np.stack([unit(0, 0, 1)]), [])
    results = compare(scored, plan, metrics_of([]), evidence(0.6, WHOLE, "8 of 8 pictures are photographs."))
    verdict = decide_verdict(metrics_of([]), results.overall, plan.main)
    assert (verdict.tone, "No verdict" in verdict.headline) == ("unknown", True)


@pytest.mark.parametrize(("drawn", "said"), [(0.9, "has learned what"), (0.0, "slight")])
def test_a_style_is_judged_by_its_question_too(drawn, said):
    """It goes half of the way in likeness alone; CLIP sees the style in the LoRA's pictures, or sees it not."""
    plan = plan_of(["red"] * 8, seeds=(0,))
    base = [unit(1, 0, 0.2 + 1e-3 * n, 0.3) for n in range(8)]
    lora = [unit(1, 0, 0.2 + drawn + 1e-3 * n, 0.3 if drawn else 0.5) for n in range(8)]
    scored = score_pictures(plan.shots, np.stack(base + lora), np.stack([unit(0, 0, 1, 0.6)]), [STYLE])
    results = compare(scored, plan, metrics_of([STYLE]), evidence(0.9, WHOLE))
    verdict = decide_verdict(metrics_of([STYLE]), results.overall, plan.main)
    assert said in verdict.headline, verdict


def exact_verdict(base, lora, ceiling, coherence, prompts=8):
    """The verdict where each prompt's likeness differs by a thousandth from the next."""
    plan = plan_of(["red"] * prompts, seeds=(0,))
    rows = [likeness(value + 1e-4 * n) for value in (base, lora) for n in range(prompts)]
    embeddings = np.stack([np.array(row) / np.linalg.norm(row) for row in rows])
    scored = score_pictures(plan.shots, embeddings, np.stack([unit(0, 0, 1)]), [])
    results = compare(scored, plan, metrics_of([]), evidence(ceiling, coherence))
    assert results.numbers["image_similarity"]["training_pictures"] == {"mean": ceiling}
    return decide_verdict(metrics_of([]), results.overall, plan.main)


def test_the_ceiling_is_the_mean_over_pairs_of_training_pictures():
    a, b, c = unit(1), unit(0, 1), unit(1, 1)
    (metric,) = image_similarity.list_metrics(None)
    among = metric.of_training_pictures(inputs_of([], np.zeros((0, 5)), np.stack([a, b, c])))
    assert among == pytest.approx((a @ b + a @ c + b @ c) / 3)
    assert metric.of_training_pictures(inputs_of([], np.zeros((0, 5)), np.stack([a]))) is None

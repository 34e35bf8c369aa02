"""A plain-language verdict, computed by a stated rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lorakiln.evaluate.score_summaries import Summary
from lorakiln.metrics import Metric, list_rules
from lorakiln.worth.intervals import FEWEST_PROMPTS, Estimate

Tone = Literal["good", "mixed", "bad", "unknown"]

# An effect whose interval begins below this share of the way from the base to what could be is a slight one.
MATERIAL = 0.15
# Likeness alone must go so far of it. Of the tiny family's LoRAs, those that drew debris in a character's colours went
# 23 to 59% of the way, those that drew the character 82 and 91%. A style goes less far, for its prompts name other
# things than the training pictures show: for it there is a question to CLIP with a fixed answer (evaluate.classify).
LIKE = 0.65


def format_rule() -> str:
    """The rule in the report's words, with what each kind of metric demands of the pictures as a whole."""
    return (
        "Base and LoRA draw the same prompts from the same seeds; a change counts as clear when the 95% interval of "
        "the difference, bootstrapped over prompts, lies wholly on one side of zero. The LoRA has learned the training "
        "pictures if every measure of them clearly rises, partly if only some do; the effect is slight if no measure "
        f"goes {MATERIAL:.0%} of the way, at the lower end of its interval, from the base to the training pictures "
        f"among themselves, or to 100% right. {' '.join(list_rules())} Where likeness is the "
        f"only measure, it must go {LIKE:.0%} of the way to count as learned, for debris in the right colours goes "
        "more than half of it; for a style, ask CLIP for it by evaluate.classify. The LoRA pays a price if any measure "
        "of following the prompt clearly falls: the questions about what a prompt names or, where none is asked, the "
        f"CLIP score. Fewer than {FEWEST_PROMPTS} prompts give no verdict, nor do photographs "
        "judged by a model that knows drawings alone. Several numbers are looked at, so one that is only just clear "
        "may still be chance. What CLIP was not asked, and what it does not see, such as poses, is not judged: look at "
        "the pictures."
    )


@dataclass(frozen=True)
class Verdict:
    headline: str
    tone: Tone


def decide_verdict(metrics: Sequence[Metric], summary: Summary, weight: float) -> Verdict:
    """Apply `format_rule` to the differences between `weight` and the base."""
    if summary.out_of_domain:
        return Verdict("No verdict: the model's CLIP does not know such pictures as the training pictures.", "unknown")
    found = {
        metric.name: summary.differences[metric.name][weight]
        for metric in metrics
        if weight in summary.differences.get(metric.name, {})
    }
    learned = [m for m in metrics if m.role == "learned" and m.name in found]
    if not learned or not all(found[m.name].enough for m in learned):
        return Verdict(f"Too few prompts for a verdict: {FEWEST_PROMPTS} or more are needed.", "unknown")
    lost = [m for m in metrics if m.role == "prompt" and m.name in found and _worsens(m, found[m.name])]
    price = f", at a price: {_moved(lost, 'clearly fell', 'clearly rose')}" if lost else ""
    rising = sum(_improves(m, found[m.name]) for m in learned)
    if any(_worsens(m, found[m.name]) for m in learned):
        return Verdict(f"The LoRA leads away from the training pictures{price}.", "bad")
    if rising and not any(_is_material(metric, summary, weight) for metric in metrics if metric.role == "learned"):
        return Verdict(f"The LoRA's effect is slight{_reached(metrics, summary, weight)}{price}.", "mixed")
    if rising and (caveat := _find_caveat(summary)):
        tone, words = caveat
        return Verdict(f"The LoRA moves towards the training pictures, but {words}{price}.", tone)
    if rising == len(learned) == 1 and not _is_like(metrics, summary, weight):
        reached = _reached(metrics, summary, weight)
        return Verdict(f"The LoRA has learned the training pictures in part{reached}{price}.", "mixed")
    if rising == len(learned):
        kept = [m for m in metrics if m.role == "prompt" and m.name in found]
        # Named one by one: of what CLIP was not asked, such as poses, nothing is said.
        no_price = f"; {_moved(kept, 'did not clearly fall', 'did not clearly rise')}" if kept else ""
        but = price or no_price
        return Verdict(f"The LoRA has learned what the training pictures show{but}.", "mixed" if lost else "good")
    if rising:
        return Verdict(f"The LoRA has learned the training pictures in part{price}.", "mixed")
    return Verdict(
        f"No effect of the LoRA on likeness to the training pictures is shown{price}.",
        "bad" if lost else "unknown",
    )


def _find_caveat(summary: Summary) -> tuple[Tone, str] | None:
    """Why the pictures are not taken for pictures of something; None if they are."""
    if not summary.findings:
        return "mixed", "whether its pictures show anything was not measured"
    caveats = [finding.caveat for finding in summary.findings.values() if finding.caveat]
    if not caveats:
        return None
    worst = max(caveats, key=lambda caveat: caveat.proven)  # of several the first
    return "bad" if worst.proven else "mixed", worst.words


def _improves(metric: Metric, difference: Estimate) -> bool:
    return difference.rises if metric.better == "more" else difference.falls


def _worsens(metric: Metric, difference: Estimate) -> bool:
    return difference.falls if metric.better == "more" else difference.rises


def _is_material(metric: Metric, summary: Summary, weight: float) -> bool:
    share = summary.share_of_the_way(metric, weight)
    difference = summary.differences.get(metric.name, {}).get(weight)
    # With nothing to compare it with, a clear rise is all that can be asked for.
    return difference is not None and _improves(metric, difference) and (share is None or share[0] >= MATERIAL)


def _is_like(metrics: Sequence[Metric], summary: Summary, weight: float) -> bool:
    """Whether likeness goes far enough to stand alone; not if how far cannot be told."""
    shares = [summary.share_of_the_way(metric, weight) for metric in metrics if metric.role == "learned"]
    return all(share is not None and share[1] >= LIKE for share in shares)


def _reached(metrics: Sequence[Metric], summary: Summary, weight: float) -> str:
    """How far the mean goes, of the first measure of which that can be told."""
    for metric in metrics:
        share = summary.share_of_the_way(metric, weight) if metric.role == "learned" else None
        if share is not None:
            goal = "100% right" if metric.fraction else "the training pictures"
            return f": {share[1]:.0%} of the way from the base to {goal}"
    return ": how far cannot be told, for one training picture has no other to be compared with"


def describe_change(metric: Metric, difference: Estimate | None) -> str:
    """What a difference says, for the table: "rises", "falls", or that nothing is shown."""
    if difference is None:
        return ""
    if not difference.enough:
        return "too few prompts to say"
    if difference.rises or difference.falls:
        return "clearly rises" if difference.rises else "clearly falls"
    return "no clear change"


def choose_tone(metric: Metric, difference: Estimate | None) -> Tone:
    """Whether a change is welcome; of measures that are neither, nothing is said."""
    if difference is None or metric.role == "other" or not (difference.rises or difference.falls):
        return "unknown"
    return "good" if _improves(metric, difference) else "bad"


def _moved(metrics: Sequence[Metric], more: str, less: str) -> str:
    """ "A and B clearly fell": `more` is said of those of which more is better."""
    titles = {
        words: [metric.title for metric in metrics if metric.better == better]
        for better, words in (("more", more), ("less", less))
    }
    return " and ".join(f"{_listed(names)} {words}" for words, names in titles.items() if names)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

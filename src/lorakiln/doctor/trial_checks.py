"""What the trials' numbers mean."""

import math
from typing import Any

from lorakiln.artefacts.disk import format_size
from lorakiln.doctor.check import Check
from lorakiln.doctor.isolation import REPORT
from lorakiln.doctor.trial import PROMPTS, STEPS, Trial

FLAT = 1.0  # levels of 255: a picture whose spread is less is one colour
# What a resumed run has learned, relative to one in one go. On a CPU they are equal; GPUs add up in another order every
# time. On the tiny family bf16 in fp32's place makes a difference of 0.03, losing the optimizer's moments one of 0.5.
APART = 0.1


def check_training(facts: dict[str, Any], trial: Trial) -> Check:
    """Whether all steps were made, and with which losses."""
    losses, told = facts["losses"], {**facts, "losses": [float(f"{loss:.4g}") for loss in facts["losses"]]}
    if len(losses) != STEPS or not all(map(math.isfinite, losses)):
        what = f"{len(losses)} of {STEPS} losses, {sum(map(math.isfinite, losses))} of them finite"
        return Check("training", "wrong", what, REPORT, told)
    made = f"{STEPS} steps of {2 * trial.micro_batch} pictures, {trial.micro_batch} at once"
    pace = f"{facts['steps_per_second']:.3g} steps a second, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    what = f"{made}, on {facts['device']} in {facts['precision']}: {pace}"
    return Check("training", "ok", what, "", told)


def check_memory_peak(peak: dict[str, int], counted: int | None) -> Check:
    """The most memory that training took, against what was counted before it.

    Args:
        peak: bytes: of tensors and of blocks on a GPU, else of the process.
        counted: bytes, None where nothing was counted.
    """
    most = peak.get("tensors", peak.get("resident", 0))
    what = f"training took {format_size(most)} of the machine's memory at most"
    if "tensors" in peak:
        what = (
            f"training took {format_size(most)} of the GPU's memory at most, in blocks of {format_size(peak['blocks'])}"
        )
    facts = {"peak": peak, "counted": counted}
    if counted is None:
        return Check("peak", "ok", what, "", facts)
    what += f"; {format_size(counted)} were counted"
    if max(peak.values()) > counted:
        fix = "training may run out of memory where it says that it fits: attach this report to an issue"
        return Check("peak", "warning", what, fix, facts)
    return Check("peak", "ok", what, "", facts)


def check_samples(facts: dict[str, Any], log: str) -> Check:
    """Whether training drew its pictures, and something on them.

    Args:
        log: what training printed, with its reason where it drew none.
    """
    if facts["pictures"] != len(PROMPTS):
        lines = log.splitlines()
        at = next((at for at, line in enumerate(lines) if line.startswith("warning: no samples")), None)
        why = lines[at] if at is not None else f"{facts['pictures']} of {len(PROMPTS)} pictures"
        fix = lines[at + 1].strip().removeprefix("fix: ") if at is not None and at + 1 < len(lines) else REPORT
        return Check("samples", "wrong", why, fix, facts)
    what = f"{facts['pictures']} pictures of {', '.join(facts['sizes'])} pixels"
    if facts["least_spread"] < FLAT:
        fix = "the VAE may overflow in half precision: name another one in model.vae, or use another base"
        return Check("samples", "wrong", f"{what}, one of a single colour", fix, facts)
    return Check("samples", "ok", what, "", facts)


def check_drawn_file(facts: dict[str, float]) -> Check:
    """Whether the exported file does in drawing what the adapter did in training.

    Args:
        facts: how far from training's picture those are that were drawn with the file and without it, in levels.
    """
    near, far = facts["with"], facts["without"]
    what = f"with the exported file {near:.2f} levels of 255 from training's own picture, without it {far:.2f}"
    if not math.isfinite(near) or near > max(far / 2, 0.5):
        fix = "compare in fp32: lorakiln generate --precision fp32; if that is no nearer, " + REPORT
        return Check("drawing", "wrong" if near > far else "warning", what, fix, facts)
    return Check("drawing", "ok", what, "", facts)


def check_resume(facts: dict[str, Any], exact: bool) -> Check:
    """Whether a training that was stopped and went on is the one that was not.

    Args:
        exact: whether it has to be the same to the byte, as on a CPU.
    """
    told = {**facts, "difference": float(f"{facts['difference']:.3g}")}
    if not 0 < facts["stopped_at"] < STEPS or facts["status"] == 0:
        what = f"the training was over before the signal came (after step {facts['stopped_at']}): nothing is known"
        return Check("resume", "warning", what, "run doctor again", told)
    what = f"stopped by SIGTERM after step {facts['stopped_at']}, went on, and ended with "
    if facts["same_bytes"]:
        return Check("resume", "ok", what + "the same bytes", "", told)
    what += f"weights {facts['difference']:.1e} away, relative, from those of one go"
    if exact or facts["difference"] > APART:
        return Check("resume", "wrong", what, REPORT, told)
    return Check("resume", "ok", what + " (to the bit with train.deterministic=true)", "", told)

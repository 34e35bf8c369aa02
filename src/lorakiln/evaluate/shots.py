"""Which pictures are drawn: prompts x seeds x weights, each with a key that names its content."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorakiln.artefacts.hashing import hash_data
from lorakiln.metrics import Prompt, Shot
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.marks import Decides, select_decided

PLACEHOLDER = "{trigger}"


@dataclass(frozen=True)
class ShotPlan:
    """All shots, and the weights and prompts that they came from.

    Attributes:
        weights: at which all prompts are drawn, rising.
        grid_weights: at which the grid's prompts are drawn, rising; holds `weights`.
        main: the weight that the report compares with the base.
    """

    prompts: list[Prompt]
    grid_prompts: list[Prompt]
    seeds: list[int]
    weights: list[float]
    grid_weights: list[float]
    main: float
    has_trigger: bool
    shots: list[Shot]


def plan_shots(settings: EvaluateSettings, trigger: str, size: tuple[int, int], base: str, lora: str) -> ShotPlan:
    """Lay out the pictures.

    Args:
        trigger: the adapter's trigger words; may be empty.
        size: width and height of every picture, pixels.
        base: all that the base's pictures depend on beside the settings: the code, the model's hash, the device, ...
        lora: the adapter's content hash.
    """
    settings = settings.reduced()
    prompts = make_prompts(settings, trigger)
    weights = sorted(set(settings.weights))
    grid_weights = sorted({*weights, *settings.between})
    grid_prompts = prompts[: settings.grid_prompts]
    seeds = list(dict.fromkeys(settings.seeds))
    has_trigger = settings.without_trigger and any(p.text != p.bare for p in grid_prompts)

    def shots_of(some: Sequence[Prompt], at: Sequence[float], trigger_in: bool) -> Iterator[Shot]:
        for weight in at:
            for prompt in some:
                for seed in seeds:
                    text = prompt.text if trigger_in else prompt.bare
                    key = compute_shot_key(settings, text, seed, weight, size, base, lora)
                    yield Shot(prompt, trigger_in, seed, weight, *size, key)

    shots = [*shots_of(prompts, weights, True)]
    shots += shots_of(grid_prompts, [w for w in grid_weights if w not in weights], True)
    if has_trigger:
        shots += shots_of([p for p in grid_prompts if p.text != p.bare], weights, False)
    main = min((w for w in weights if w), key=lambda w: (abs(w - 1), w))
    return ShotPlan(prompts, grid_prompts, seeds, weights, grid_weights, main, has_trigger, shots)


def make_prompts(settings: EvaluateSettings, trigger: str) -> list[Prompt]:
    """The prompts of the settings, with the trigger words and without."""
    return [
        Prompt(index, insert_trigger(text, trigger), remove_trigger(text, trigger))
        for index, text in enumerate(settings.prompts)
    ]


def compute_shot_key(
    settings: EvaluateSettings,
    text: str,
    seed: int,
    weight: float,
    size: tuple[int, int],
    base: str,
    lora: str,
) -> str:
    """The identity of a picture. At weight 0 the adapter is off, so the key leaves it out.

    The batch size is in it because a processor may sum in another order in another batch shape.
    """
    # `base` tells of the device and the precision what they came to.
    known = {"width": size[0], "height": size[1], "device": None, "precision": None}
    drawing = select_decided(settings, Decides.DRAWINGS, known)
    adapter = lora if weight else None
    return hash_data(base, adapter, text, seed, float(weight), drawing)


def insert_trigger(template: str, trigger: str) -> str:
    """The prompt as drawn: "{trigger}" replaced; what an empty trigger leaves over is tidied."""
    if PLACEHOLDER in template and not trigger:
        return remove_trigger(template, trigger)
    return template.replace(PLACEHOLDER, trigger)


def remove_trigger(template: str, trigger: str) -> str:
    """The prompt with the placeholder and the trigger's own words taken out, and stray commas tidied.

    "{trigger}, in a forest" -> "in a forest"; the trigger is found in any case, as whole words.
    """
    text = template.replace(PLACEHOLDER, "")
    if trigger:
        text = re.sub(rf"(?<!\w){re.escape(trigger)}(?!\w)", "", text, flags=re.IGNORECASE)
    if text == template:
        return template
    pieces = (" ".join(piece.split()) for piece in text.split(","))
    return ", ".join(piece for piece in pieces if piece)

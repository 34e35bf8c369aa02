"""How much a LoRA changes where nobody asked for it: in pictures of prompts without its trigger words.

Of prompts that hold no trigger words there is nothing to change; what changes all the same has bled into the words that
were beside them in the captions.
"""

from collections.abc import Sequence

from lorakiln.metrics import Metric, MetricInputs
from lorakiln.metrics._cosines import compute_seed_distance
from lorakiln.schema.evaluate import EvaluateSettings


class Bleed(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """How far a picture is from the base's of the same prompt and seed, 1 - cosine, as a share of how far the
        base's pictures of one prompt are from each other: 0 the same picture, 1 as far as another seed's.

        None of prompts with trigger words; None altogether if the base drew no prompt without them twice.
        """
        bare = [(row, shot) for row, shot in enumerate(inputs.shots) if not shot.with_trigger]
        base = {(shot.prompt.index, shot.seed): inputs.embeddings[row] for row, shot in bare if not shot.weight}
        seeds = compute_seed_distance(base)
        if not seeds:
            return None
        values: list[float | None] = [None] * len(inputs.shots)
        for row, shot in bare:
            if (one := base.get((shot.prompt.index, shot.seed))) is not None:
                values[row] = float(max(0.0, 1 - one @ inputs.embeddings[row]) / seeds)
        return values


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    if settings is not None and not settings.without_trigger:
        return []
    return [
        Bleed(
            "bleed",
            "change without the trigger words",
            "how far pictures of prompts without the trigger words move from the base's; 1: as far as another seed",
            "other",
            better="less",
            digits=2,
            place=56,
        )
    ]

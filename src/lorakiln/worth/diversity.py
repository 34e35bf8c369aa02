"""How much a LoRA's pictures of one prompt still vary from seed to seed."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lorakiln.metrics import Scored
from lorakiln.metrics._cosines import compute_mean_cosine
from lorakiln.worth.intervals import Estimate, compute_bootstrap_mean


def estimate_diversity(scored: Sequence[Scored], apart: float | None) -> Estimate | None:
    """How far pictures of one prompt are from each other, 1 - cosine by CLIP, as a share of `apart`: 1 is as varied as
    the base, 0 one picture again and again. The interval is bootstrapped over prompts.

    Args:
        apart: the same of the base's pictures, see `Baseline.apart`; None or 0: not known.

    Returns:
        None where no prompt was drawn twice, or the base's are not known.
    """
    groups: dict[int, list[np.ndarray]] = defaultdict(list)
    for item in scored:
        if item.shot.with_trigger:
            groups[item.shot.prompt.index].append(item.embedding)
    varied = [1 - compute_mean_cosine(np.stack(group)) for group in groups.values() if len(group) > 1]
    return compute_bootstrap_mean(np.array(varied) / apart) if varied and apart else None

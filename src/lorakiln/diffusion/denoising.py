"""From noise to latents: the process's way back, with classifier-free guidance."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorakiln.diffusion.process import Sampler

Conditioning = Mapping[str, Tensor]


def denoise(
    sampler: Sampler,
    predict: Callable[[Tensor, Tensor, Conditioning], Tensor],
    epsilon: Tensor,
    positive: Conditioning,
    negative: Conditioning | None,
    guidance: float,
    start: Tensor | None = None,
    strength: float = 1.0,
    before_each: Callable[[], object] | None = None,
) -> Tensor:
    """x_0, (B, C, h, w), of the noise `epsilon`, or of a picture's latents that are noised and drawn anew.

    Args:
        predict: the network's answer to x_t at times (B,), with conditioning of first dimension B.
        positive: of the prompts.
        negative: of the empty or negative prompt; None: no guidance.
        guidance: p = p_empty + guidance (p_prompt - p_empty), with the network's answers p  (arXiv 2207.12598).
        start: latents (1, C, h, w) to begin with.
        strength: how much of the way from them is drawn anew, in (0, 1]: int(steps * strength) of the steps.
        before_each: called before every step; what it raises ends the drawing.
    """
    steps = len(sampler.times)
    first = 0 if start is None else steps - max(1, int(steps * strength))
    x_t = sampler.begin(epsilon, start, first)
    conditioning = positive
    if negative is not None:
        shared = {name: value.expand_as(positive[name]) for name, value in negative.items()}
        conditioning = {name: torch.cat([shared[name], value]) for name, value in positive.items()}
    # All at once: an upload in every step would wait for the step before it.
    times = sampler.times.to(x_t.device)
    for at in range(first, steps):
        if before_each:
            before_each()
        t = times[at]
        if negative is None:
            prediction = predict(x_t, t.expand(len(x_t)), conditioning)
        else:
            both = predict(torch.cat([x_t, x_t]), t.expand(2 * len(x_t)), conditioning)
            empty, prompted = both.chunk(2)
            prediction = empty + guidance * (prompted - empty)
        x_t = sampler.step(prediction, at, x_t)
    return x_t

"""Drawing a batch with what is the same in every step, and in both halves, computed once, and by lighter blocks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from lorakiln.families.sd.blocks import replacing_blocks

Forward = Callable[..., Any]


@contextmanager
def drawing_batch(network: Any, vae: nn.Module, guided: bool) -> Iterator[None]:
    """Inside, where no gradient is taken, keys and values of the text are computed in the first call of `network`
    alone, and the blocks of both are those of `blocks`. The frozen convolutions of `network` stay in channels_last, as
    training has them.

    Args:
        network: diffusers' UNet2DConditionModel; adapters may be on it.
        vae: what decodes the batch, diffusers' AutoencoderKL.
        guided: the rows of a call are the same latents at the same time twice, with other texts: up to the first
            attention to the text, the first half is computed and stands for both.
    """
    _put_channels_last(network)
    with torch.no_grad(), replacing_blocks(network, vae), replacing_forwards(network, guided):
        yield


def _put_channels_last(network: nn.Module) -> None:
    """A twentieth less time; nothing to do from the second batch on. What is trained may be views of one vector."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def replacing_forwards(network: Any, guided: bool) -> Iterator[None]:
    """Inside, what the text's keys and values and, where `guided`, the parts before the text compute is kept."""
    replaced: dict[nn.Module, Forward] = {}
    for module in network.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            replaced |= {part: _compute_once(part.forward) for part in (module.to_k, module.to_v)}
    if guided:
        replaced |= {part: _halve(part.forward) for part in list_parts_before_text(network)}
    before = {module: module.__dict__.get("forward") for module in replaced}
    try:
        for module, forward in replaced.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own


def list_parts_before_text(network: Any) -> list[nn.Module]:
    """The modules of diffusers' UNet2DConditionModel that compute before the text is looked at, in their order; none
    where the time is told together with something of the text, as in SDXL.
    """
    if network.config.addition_embed_type or network.class_embedding is not None:
        return []
    found: list[nn.Module] = [network.conv_in]
    for block in network.down_blocks:
        attentions = getattr(block, "attentions", None)
        if attentions:
            first = attentions[0]
            inner = first.transformer_blocks[0]
            # The projection of a linear one stands between views of another shape, and costs next to nothing.
            projection = [] if first.use_linear_projection else [first.proj_in]
            return [*found, block.resnets[0], first.norm, *projection, inner.norm1, inner.attn1]
        found += [*block.resnets, *(block.downsamplers or [])]
    return found


def _compute_once(forward: Forward) -> Forward:
    kept: list[Tensor] = []

    def give(states: Tensor, *args: Any, **given: Any) -> Tensor:
        if not kept:
            kept.append(forward(states, *args, **given))
        return kept[0]

    return give


def _halve(forward: Forward) -> Forward:
    def compute(states: Tensor, *args: Any, **given: Any) -> Tensor:
        half = len(states) // 2
        rest = [one[:half] if isinstance(one, Tensor) else one for one in args]
        found = forward(states[:half], *rest, **given)
        return torch.cat([found, found])

    return compute

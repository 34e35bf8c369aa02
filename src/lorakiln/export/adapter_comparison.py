"""A written file counts when it has been read back and changes every weight as the trained adapter does."""

from collections.abc import Callable

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.checks import TOLERANCE
from lorakiln.adapters.protocol import TrainableKind
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.lora_files.casting import CastAdapter

# Of the weight, relative: programs compute the length of a DoRA's row with and without a number that keeps it from 0.
ROUNDING = 1e-6


def compare_adapters(
    trained: Adapter,
    expected: CastAdapter,
    written: Adapter,
    dtype: torch.dtype,
    where: object,
    kind: TrainableKind,
    weight: Callable[[str], Tensor],
) -> float:
    """The largest relative difference, over the layers, between the weight changes of two adapters.

    It is ||dW_written - dW_trained|| / ||dW_trained||, Frobenius norms, in float32; layers that are nothing beside the
    others (`fitting`) are left out of it. A change that depends on the weight is known to the rounding of that weight
    alone, which may be more of it (`ROUNDING`).

    Args:
        expected: what was to be written; its numbers must be there exactly.
        kind: of both adapters' layers.
        weight: the base's weight of a module, by whose change both are measured.

    Raises:
        UserError: a layer is missing or too many, or differs by more than the precision explains.
    """
    if odd := sorted(set(trained.layers) ^ set(written.layers)):
        raise UserError(f"{format_count(len(odd), 'layer')} lost or invented: {', '.join(odd[:3])}", where=where)
    worst, wrong = 0.0, []
    for name, layer in trained.layers.items():
        found, told, base = written.layers[name], expected.adapter.layers[name], weight(name)
        if layer.shape != found.shape:
            wrong.append(f"{name} (its shape)")
            continue
        change = layer.change_of(base)
        difference = (found.change_of(base) - change).norm().item()
        size = change.norm().item()
        relative = difference / size if size else difference
        numbers, wanted = (kind.tensors(one, "kohya") for one in (found, told))
        same = numbers.keys() == wanted.keys() and all(torch.equal(numbers[one], wanted[one]) for one in wanted)
        if name in expected.lost and same:
            continue
        worst = max(worst, relative)
        noise = ROUNDING * base.float().norm().item() if kind.RELATIVE else 0.0
        if not (same and difference <= TOLERANCE[dtype] * (size or 1.0) + noise):
            wrong.append(f"{name} ({relative:.1e})")
    if wrong:
        raise UserError(
            f"{format_count(len(wrong), 'layer')} unlike what was trained: {', '.join(wrong[:3])}",
            where=where,
            fix="" if dtype == torch.float32 else "set export.precision=fp32",
        )
    return worst

"""A written file counts when it has been read back and changes every weight as the trained adapter does."""

import torch

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Adapter
from lorakiln.lora_files.finite import TOLERANCE
from lorakiln.lora_files.fitting import Fitted


def compare(trained: Adapter, expected: Fitted, written: Adapter, dtype: torch.dtype, where: object) -> float:
    """The largest relative difference, over the layers, between the weight changes of two adapters.

    It is ||dW_written - dW_trained|| / ||dW_trained||, Frobenius norms, in float32; layers that are nothing beside the
    others (`fitting`) are left out of it.

    Args:
        expected: what was to be written; its numbers must be there exactly.

    Raises:
        UserError: a layer is missing or too many, or differs by more than the precision explains.
    """
    if odd := sorted(set(trained.layers) ^ set(written.layers)):
        raise UserError(f"{len(odd)} layers were lost or invented: {', '.join(odd[:3])}", where=where)
    worst, wrong = 0.0, []
    for name, layer in trained.layers.items():
        change, found, told = layer.delta(), written.layers[name], expected.adapter.layers[name]
        if change.shape != found.delta().shape:
            wrong.append(f"{name} (its shape)")
            continue
        difference = (found.delta() - change).norm().item()
        size = change.norm().item()
        relative = difference / size if size else difference
        same = torch.equal(found.down, told.down) and torch.equal(found.up, told.up)
        if name in expected.lost and same:
            continue
        worst = max(worst, relative)
        if not (same and relative <= TOLERANCE[dtype]):
            wrong.append(f"{name} ({relative:.1e})")
    if wrong:
        raise UserError(
            f"{len(wrong)} layers differ from what was trained: {', '.join(wrong[:3])}",
            where=where,
            fix=None if dtype == torch.float32 else "set export.precision=fp32",
        )
    return worst

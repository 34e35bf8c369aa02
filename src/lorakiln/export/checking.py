"""A written file counts when it has been read back and changes every weight as the trained adapter does."""

import torch

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Adapter
from lorakiln.lora_files.finite import TOLERANCE


def compare(trained: Adapter, written: Adapter, dtype: torch.dtype, where: object) -> float:
    """The largest relative difference, over the layers, between the weight changes of two adapters.

    It is ||dW_written - dW_trained|| / ||dW_trained||, Frobenius norms, in float32.

    Raises:
        UserError: a layer is missing or too many, or differs by more than the precision explains.
    """
    if odd := sorted(set(trained.layers) ^ set(written.layers)):
        raise UserError(f"{len(odd)} layers were lost or invented: {', '.join(odd[:3])}", where=where)
    worst, wrong = 0.0, []
    for name, layer in trained.layers.items():
        expected, found = layer.delta(), written.layers[name]
        if expected.shape != found.delta().shape:
            wrong.append(f"{name} (its shape)")
            continue
        difference = (found.delta() - expected).norm().item()
        size = expected.norm().item()
        relative = difference / size if size else difference
        worst = max(worst, relative)
        same = torch.equal(found.down, layer.down.to(dtype)) and torch.equal(found.up, layer.up.to(dtype))
        if not (same and relative <= TOLERANCE[dtype]):
            wrong.append(f"{name} ({relative:.1e})")
    if wrong:
        raise UserError(
            f"{len(wrong)} layers differ from what was trained: {', '.join(wrong[:3])}",
            where=where,
            fix=None if dtype == torch.float32 else "set export.precision=fp32",
        )
    return worst

"""Between the live training and its checkpoints."""

from typing import Any

import torch
import torch.distributed as dist

from lorakiln.console.errors import UserError
from lorakiln.train.checkpoint import State
from lorakiln.train.circumstances import circumstances, warn_of_difference
from lorakiln.train.module import Kiln
from lorakiln.train.record import Record

MOMENTS = ("exp_avg", "exp_avg_sq")


def capture(kiln: Kiln, record: Record, **more: Any) -> State:
    """Everything that the steps to come depend on. At least one step has been done, and its readings read.

    Args:
        more: what else the checkpoint is to remember, JSON-able.
    """
    flats = {"adapter": kiln.flat.weights.data, **{name: _moment(kiln, name) for name in MOMENTS}}
    tensors = {
        f"{kind}/{name}": tensor for kind, flat in flats.items() for name, tensor in kiln.flat.split(flat).items()
    }
    records = {
        "metrics": record.metrics, "validation": record.validation, "tracked": record.tracked,
        "losses": kiln.readings.losses, "norms": kiln.readings.norms,
        "circumstances": circumstances(kiln), **more,
    }  # fmt: skip
    return State(kiln.done, tensors, records)


def restore(kiln: Kiln, record: Record, state: State) -> None:
    """Put a checkpoint back, bit for bit.

    Raises:
        UserError: it belongs to other modules of the network.
    """
    try:
        flats = {
            kind: kiln.flat.join(
                {
                    name: tensor
                    for key, tensor in state.tensors.items()
                    for k, _, name in [key.partition("/")]
                    if k == kind
                }
            )
            for kind in ("adapter", *MOMENTS)
        }
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the checkpoint does not fit the adapter ({error})", fix="delete it") from error
    warn_of_difference(state.records["circumstances"], circumstances(kiln))
    kiln.first = state.step
    kiln.flat.weights.data.copy_(flats["adapter"])
    _set_moments(kiln, flats["exp_avg"], flats["exp_avg_sq"])
    record.metrics[:] = state.records["metrics"]
    record.validation[:] = state.records["validation"]
    record.tracked |= {int(step): told for step, told in state.records.get("tracked", {}).items()}
    kiln.readings.losses[:] = state.records["losses"]
    kiln.readings.norms[:] = state.records["norms"]


def spread(kiln: Kiln) -> None:
    """Give all processes what rank 0 has: its step, its weights and its optimizer's state."""
    if kiln.share.world == 1:
        return
    weights = kiln.flat.weights.data
    first = torch.tensor(kiln.first, device=weights.device)
    dist.broadcast(first, src=0)
    kiln.first = int(first)
    dist.broadcast(weights, src=0)
    if not kiln.first:
        return
    if not kiln.optimizer.state:
        _set_moments(kiln, torch.zeros_like(weights), torch.zeros_like(weights))
    moments = [_moment(kiln, name) for name in MOMENTS]
    for moment in moments:
        dist.broadcast(moment, src=0)
    _set_moments(kiln, *moments)


def _moment(kiln: Kiln, name: str) -> torch.Tensor:
    """Of all weights, laid out as they are."""
    return torch.cat([kiln.optimizer.state[weights][name] for weights in kiln.flat.parts.values()])


def _set_moments(kiln: Kiln, exp_avg: torch.Tensor, exp_avg_sq: torch.Tensor) -> None:
    sizes = [len(weights) for weights in kiln.flat.parts.values()]
    pieces = zip(kiln.flat.parts.values(), exp_avg.split(sizes), exp_avg_sq.split(sizes), strict=True)
    for weights, first, second in pieces:
        # Nothing is skipped before a checkpoint, so the optimizer has counted as many steps as we.
        step = torch.tensor(float(kiln.first), device=weights.device)
        kiln.optimizer.state[weights] = {"step": step, "exp_avg": first.clone(), "exp_avg_sq": second.clone()}

"""Between the live training and its checkpoints."""

from typing import Any

import torch
import torch.distributed as dist

from lorakiln.console.errors import UserError
from lorakiln.optim.state import put_state, take_state
from lorakiln.train.checkpoint import State
from lorakiln.train.circumstances import circumstances, warn_of_difference
from lorakiln.train.module import Kiln
from lorakiln.train.record import Record


def capture(kiln: Kiln, record: Record, **more: Any) -> State:
    """Everything that the steps to come depend on. The readings of all steps done are read.

    Args:
        more: what else the checkpoint is to remember, JSON-able.
    """
    adapter = {f"adapter/{name}": tensor for name, tensor in kiln.flat.split(kiln.flat.weights.data).items()}
    optimizer, tensors = take_state(kiln.optimizer, kiln.owners)
    records = {
        "metrics": record.metrics, "validation": record.validation, "tracked": record.tracked,
        "losses": kiln.readings.losses, "norms": kiln.readings.norms, "optimizer": optimizer,
        "circumstances": circumstances(kiln), **more,
    }  # fmt: skip
    return State(kiln.done, adapter | tensors, records)


def restore(kiln: Kiln, record: Record, state: State) -> None:
    """Put a checkpoint back, bit for bit.

    Raises:
        UserError: it belongs to other modules of the network, or to another optimizer.
    """
    named = {key.removeprefix("adapter/"): value for key, value in state.tensors.items() if key.startswith("adapter/")}
    try:
        weights = kiln.flat.join(named)
        put_state(kiln.optimizer, kiln.owners, state.records["optimizer"], state.tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"the checkpoint does not fit the adapter ({error})", fix="delete it") from error
    warn_of_difference(state.records["circumstances"], circumstances(kiln))
    kiln.done = state.step
    kiln.flat.weights.data.copy_(weights)
    record.metrics[:] = state.records["metrics"]
    record.validation[:] = state.records["validation"]
    record.tracked |= {int(step): told for step, told in state.records.get("tracked", {}).items()}
    kiln.readings.losses[:] = state.records["losses"]
    kiln.readings.norms[:] = state.records["norms"]


def spread(kiln: Kiln) -> None:
    """Give all processes what rank 0 has: its step, its weights and its optimizer's state."""
    if kiln.share.world == 1:
        return
    device = kiln.flat.weights.device
    dist.broadcast(kiln.flat.weights.data, src=0)
    record, tensors = take_state(kiln.optimizer, kiln.owners)
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    told = [(kiln.done, record, layout)]
    dist.broadcast_object_list(told, src=0)
    kiln.done, record, layout = told[0]
    mine = kiln.share.rank == 0
    for name, (dtype, shape) in layout.items():
        sent = tensors[name].to(device, copy=True) if mine else torch.empty(shape, dtype=dtype, device=device)
        if sent.numel():
            # As bytes: not every backend knows every dtype.
            dist.broadcast(sent.reshape(-1).view(torch.uint8), src=0)
        tensors[name] = sent.cpu()
    if not mine:
        put_state(kiln.optimizer, kiln.owners, record, tensors)

"""Between the live training and its checkpoints."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.optim.state import put_state, take_state
from lorakiln.train.checkpoint import TrainingState
from lorakiln.train.environment import describe_environment, warn_of_difference
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.record import Record


def capture(module: LoraModule, record: Record, **more: Any) -> TrainingState:
    """Everything that the steps to come depend on. The losses of all steps done are on the host.

    Args:
        more: what else the checkpoint is to remember, JSON-able.
    """
    adapter = {f"adapter/{name}": tensor for name, tensor in module.flat.split(module.flat.weights.data).items()}
    adapter |= {f"fixed/{name}": tensor.detach() for name, tensor in module.adapted.list_frozen().items()}
    if module.average:
        adapter |= {f"average/{name}": tensor for name, tensor in module.flat.split(module.average.weights).items()}
    if module.scale:
        adapter |= {f"loss_scale/{name}": tensor for name, tensor in module.scale.tensors().items()}
    optimizer, tensors = take_state(module.optimizer, module.owners)
    records = {
        "metrics": record.metrics,
        "validation": record.validation,
        "tracked": record.tracked,
        "losses": module.step_losses.losses,
        "norms": module.step_losses.norms,
        "optimizer": optimizer,
        "circumstances": describe_environment(module),
        **more,
    }
    return TrainingState(module.done, adapter | tensors, records)


def restore(module: LoraModule, record: Record, state: TrainingState) -> None:
    """Put a checkpoint back, bit for bit.

    Raises:
        UserError: it belongs to other modules of the network, or to another optimizer.
    """
    try:
        weights = module.flat.join(_select(state, "adapter/"))
        with torch.no_grad():
            for name, tensor in module.adapted.list_frozen().items():
                tensor.copy_(state.tensors[f"fixed/{name}"])
        if module.average:
            module.average.weights.copy_(module.flat.join(_select(state, "average/")))
        if module.scale:
            module.scale.put(_select(state, "loss_scale/"))
        put_state(module.optimizer, module.owners, state.records["optimizer"], state.tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"the checkpoint does not fit the adapter ({error})", fix="delete it") from error
    warn_of_difference(state.records["circumstances"], describe_environment(module))
    module.done = state.step
    module.flat.weights.data.copy_(weights)
    record.metrics[:] = state.records["metrics"]
    record.validation[:] = state.records["validation"]
    record.tracked |= {int(step): row for step, row in state.records.get("tracked", {}).items()}
    module.step_losses.losses[:] = state.records["losses"]
    module.step_losses.norms[:] = state.records["norms"]


def _select(state: TrainingState, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.tensors.items() if key.startswith(prefix)}


def broadcast(module: LoraModule) -> None:
    """Give all processes what rank 0 has: its step, its weights and their average, its loss scale, and its optimizer's
    state.
    """
    if module.share.world == 1:
        return
    device = module.flat.weights.device
    for weights in (module.flat.weights, *module.adapted.list_frozen().values()):
        dist.broadcast(weights.data, src=0)
    if module.average:
        dist.broadcast(module.average.weights, src=0)
    for tensor in module.scale.tensors().values() if module.scale else ():
        dist.broadcast(tensor, src=0)
    record, tensors = take_state(module.optimizer, module.owners)
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    shared = [(module.done, record, layout)]
    dist.broadcast_object_list(shared, src=0)
    module.done, record, layout = shared[0]
    mine = module.share.rank == 0
    for name, (dtype, shape) in layout.items():
        sent = tensors[name].to(device, copy=True) if mine else torch.empty(shape, dtype=dtype, device=device)
        if sent.numel():
            # As bytes: not every backend knows every dtype.
            dist.broadcast(sent.reshape(-1).view(torch.uint8), src=0)
        tensors[name] = sent.cpu()
    if not mine:
        put_state(module.optimizer, module.owners, record, tensors)

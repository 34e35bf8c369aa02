"""torch's meta device, as strict about where tensors are as CUDA is.

By itself it lets many operations mix its tensors with the CPU's: `linear`, `conv2d`, `embedding`, matrix products, what
is written in place, what is picked by index. Within `StrictDevice` these raise, as on a GPU.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten: Any = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy, aten._foreach_copy_, aten.copy}  # from one device to another
PICKS = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}  # by CPU indices, too
JOINS = {aten.cat, aten.stack, aten._fused_adamw_}  # which take no number from the CPU, either


class StrictDevice(TorchDispatchMode):
    """Raises RuntimeError where an operation gets tensors of the meta device and of the CPU, unless CUDA takes them:
    a copy, a number (a tensor without dimensions) beside tensors, indices on the CPU; or a generator of the CPU for
    numbers on the meta device.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = func.overloadpacket
        if kind not in COPIES:
            picks = kind in PICKS and args[0].is_meta
            tensors = list(_list_tensors(((args[0], *args[2:]) if picks else args, kwargs)))
            here = [one for one in tensors if not one.is_meta and (one.dim() or kind in JOINS)]
            if here and any(one.is_meta for one in tensors):
                where = ", ".join(f"{one.device.type} {tuple(one.shape)}" for one in tensors)
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {where}")
        result = func(*args, **kwargs)
        if kwargs.get("generator") is not None and any(one.is_meta for one in _list_tensors(result)):
            raise RuntimeError(f"{func}: expected a generator of the meta device, but found one of the CPU")
        return result


def _list_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _list_tensors(one)
    elif isinstance(value, dict):
        yield from _list_tensors(list(value.values()))

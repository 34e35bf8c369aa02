"""torch's meta device, as strict about where tensors are as CUDA is.

By itself it lets many operations mix its tensors with the CPU's: `linear`, `conv2d`, `embedding`, matrix products, what
is written in place, what is picked by index. Within `StrictDevice` these raise, as on a GPU, and what the host would
wait for the device for is noted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten: Any = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy, aten._foreach_copy_, aten.copy}  # from one device to another
PICKS = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}  # by CPU indices, too
READS = ("cpu", "tolist", "item", "__int__", "__float__", "__bool__", "to")  # ways of a tensor's numbers to the CPU
JOINS = {aten.cat, aten.stack, aten._fused_adamw_}  # which take no number from the CPU, either


class StrictDevice(TorchDispatchMode):
    """Raises RuntimeError where an operation gets tensors of the meta device and of the CPU, unless CUDA takes them:
    a copy, a number (a tensor without dimensions) beside tensors, indices on the CPU; or a generator of the CPU for
    numbers on the meta device.

    Attributes:
        waits: what the host would have waited for: a copy to or from the device that does not say `non_blocking`, a
            number on the device that was read, indices on the CPU for values there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._known: dict[Any, Any] = {}  # shapes that an operation gave, by what it got

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = func.overloadpacket
        if kind in PICKS and args[0].is_meta and any(not one.is_meta for one in _list_tensors(args[1])):
            self.waits.append(f"{func}: indices on the CPU")
        if kind not in COPIES:
            picks = kind in PICKS and args[0].is_meta
            tensors = list(_list_tensors(((args[0], *args[2:]) if picks else args, kwargs)))
            here = [one for one in tensors if not one.is_meta and (one.dim() or kind in JOINS)]
            if here and any(one.is_meta for one in tensors):
                where = ", ".join(f"{one.device.type} {tuple(one.shape)}" for one in tensors)
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {where}")
        result = self._compute(func, args, kwargs)
        if kwargs.get("generator") is not None and any(one.is_meta for one in _list_tensors(result)):
            raise RuntimeError(f"{func}: expected a generator of the meta device, but found one of the CPU")
        if kind in COPIES and not _is_non_blocking(kind, args, kwargs):
            where = {one.device.type for one in _list_tensors((args, result))}
            if len(where) > 1:
                self.waits.append(f"{func}: {tuple(next(_list_tensors(args)).shape)}")
        return result

    def _compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `func` does. Torch computes shapes in Python, which takes long: the same of the same shapes is known."""
        if not _is_repeatable(func):
            return func(*args, **kwargs)
        key = (func, _describe((args, kwargs)))
        if key in self._known:
            return _make(self._known[key])
        result = func(*args, **kwargs)
        if all(one.is_meta for one in _list_tensors((args, kwargs, result))):
            made = [result] if isinstance(result, Tensor) else result
            if isinstance(made, list | tuple) and all(type(one) is Tensor for one in made):
                self._known[key] = _describe(result)
        return result

    @contextmanager
    def reading_zeros(self) -> Iterator[None]:
        """What is brought to the CPU from the device meanwhile is zeros, and truths are true, for it has no numbers."""
        real = {name: getattr(Tensor, name) for name in READS}

        def read_as(name: str) -> Callable[..., Any]:
            def read(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
                leaves = tensor.is_meta and (name != "to" or "cpu" in map(str, arguments))
                if leaves:
                    self.waits.append(name)
                    tensor = torch.full(tensor.shape, tensor.dtype == torch.bool, dtype=tensor.dtype)
                return real[name](tensor, *arguments, **named)

            return read

        try:
            for name in READS:
                setattr(Tensor, name, read_as(name))
            yield
        finally:
            for name, method in real.items():
                setattr(Tensor, name, method)


@cache
def _is_repeatable(func: Any) -> bool:
    """That it gives new tensors whose shapes come from its arguments' shapes and numbers."""
    schema = func._schema
    parts = [*schema.arguments, *schema.returns]
    tensors = any("Tensor" in str(one.type) for one in schema.arguments)
    return tensors and all(one.alias_info is None for one in parts) and func.overloadpacket not in COPIES


def _describe(value: Any) -> Any:
    """What shapes come from, to be looked up by: a tensor's own, a number with its sort (1 is no 1.0, and no True)."""
    if isinstance(value, Tensor):
        return Tensor, tuple(value.shape), value.stride(), value.dtype, value.device
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_describe, value))
    if isinstance(value, dict):
        return dict, tuple((key, _describe(one)) for key, one in value.items())
    return type(value), value


def _make(described: Any) -> Any:
    kind, inside, *more = described
    if kind is Tensor:
        stride, dtype, device = more
        return torch.empty_strided(inside, stride, dtype=dtype, device=device)
    return kind(map(_make, inside))


def _is_non_blocking(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    # In `_to_copy` it is named always; in the others it is the third argument.
    return bool(kwargs.get("non_blocking") or (kind is not aten._to_copy and len(args) > 2 and args[2]))


def _list_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _list_tensors(one)
    elif isinstance(value, dict):
        yield from _list_tensors(list(value.values()))

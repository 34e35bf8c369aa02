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
META = torch.device("meta")
COPIES = {aten.copy_, aten._to_copy, aten._foreach_copy_, aten.copy}  # from one device to another
PICKS = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}  # by CPU indices, too
NUMBERS = {aten.item, aten._local_scalar_dense}
READS = ("cpu", "tolist", "item", "__int__", "__float__", "__bool__", "to")  # ways of a tensor's numbers to the CPU
JOINS = {aten.cat, aten.stack, aten._fused_adamw_}  # which take no number from the CPU, either

KNOWN: dict[Any, Any] = {}  # shapes that an operation gave, by what it got


class StrictDevice(TorchDispatchMode):
    """Raises RuntimeError where an operation gets tensors of the meta device and of the CPU, unless CUDA takes them:
    a copy, a number (a tensor without dimensions) beside tensors, indices on the CPU; or a generator of the CPU for
    numbers on the meta device.

    Attributes:
        waits: what the host would have waited for: a copy to the device that does not say `non_blocking`, or comes from
            memory that is not pinned, which CUDA may wait to stage; a copy from the device; a number there that was
            read; indices on the CPU for values there.

    A copy from the device that says `non_blocking` raises RuntimeError, too: what is read of it before the device has
    written it is anything (torch's "A guide on good usage of non_blocking and pin_memory()"), and nothing here waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._reads_zeros = False
        self._pinned: dict[int, Tensor] = {}  # by where they begin; kept, so that none begins there later
        self._real_pin = Tensor.pin_memory

    def __enter__(self) -> Any:
        # Without a GPU torch has no pinned memory.
        def pin(tensor: Tensor) -> Tensor:
            return self._pin(tensor)

        Tensor.pin_memory = pin  # type: ignore[method-assign, assignment]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        Tensor.pin_memory = self._real_pin  # type: ignore[method-assign]

    def _pin(self, tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            raise RuntimeError("cannot pin a tensor of the meta device: only dense CPU tensors can be pinned")
        if self._is_pinned(tensor):
            return tensor
        pinned = tensor.detach().clone()
        self._pinned[_begin(pinned)] = pinned
        return pinned

    def _is_pinned(self, tensor: Tensor) -> bool:
        return _begin(tensor) in self._pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = func.overloadpacket
        if self._reads_zeros and kind in NUMBERS and args[0].is_meta:
            # Torch itself reads what an operation is given on the device for a number.
            self.waits.append(f"{func}: a number")
            return torch.full((), args[0].dtype == torch.bool, dtype=args[0].dtype).item()
        if kind in PICKS and args[0].is_meta and any(not one.is_meta for one in _list_tensors(args[1])):
            self.waits.append(f"{func}: indices on the CPU")
        if kind not in COPIES:
            picks = kind in PICKS and args[0].is_meta
            tensors = list(_list_tensors(((args[0], *args[2:]) if picks else args, kwargs)))
            here = [one for one in tensors if not one.is_meta and (one.dim() or kind in JOINS)]
            if here and any(one.is_meta for one in tensors):
                where = ", ".join(f"{one.device.type} {tuple(one.shape)}" for one in tensors)
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found {where}")
        elif self._crosses(func, args, kwargs) and self._waits(func, args, kwargs):
            self.waits.append(f"{func}: {tuple(next(_list_tensors(args)).shape)}")
        result = self._compute(func, args, kwargs)
        if kwargs.get("generator") is not None and any(one.is_meta for one in _list_tensors(result)):
            raise RuntimeError(f"{func}: expected a generator of the meta device, but found one of the CPU")
        return result

    def _crosses(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a copy is one to the device or from it.

        Raises:
            RuntimeError: from it, and nothing waits until it is there.
        """
        kind = func.overloadpacket
        given, made = (args[0], kwargs.get("device")) if kind is aten._to_copy else (args[1], args[0])
        leaves = next(_list_tensors(given)).is_meta
        arrives = leaves if made is None else next((one.is_meta for one in _list_tensors(made)), made == META)
        if leaves and not arrives and _is_non_blocking(kind, args, kwargs):
            raise RuntimeError(f"{func}: a non_blocking copy from the device, which nothing waits for")
        return leaves != arrives

    def _waits(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        given = list(_list_tensors(args[:1] if func.overloadpacket is aten._to_copy else args[1]))
        return not (_is_non_blocking(func.overloadpacket, args, kwargs) and all(map(self._is_pinned, given)))

    def _compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `func` does. Torch computes shapes in Python, which takes long: the same of the same shapes is known."""
        if not _is_repeatable(func):
            return func(*args, **kwargs)
        key = (func, _describe((args, kwargs)))
        if key in KNOWN:
            return _make(KNOWN[key])
        result = func(*args, **kwargs)
        if all(one.is_meta for one in _list_tensors((args, kwargs, result))):
            made = [result] if isinstance(result, Tensor) else result
            if isinstance(made, list | tuple) and all(one is None or type(one) is Tensor for one in made):
                KNOWN[key] = _describe(result)
        return result

    @contextmanager
    def reading_zeros(self) -> Iterator[None]:
        """What is brought to the CPU from the device meanwhile is zeros, and truths are true, for it has no numbers."""
        real = {name: getattr(Tensor, name) for name in READS}

        def read_as(name: str) -> Callable[..., Any]:
            def read(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
                leaves = tensor.is_meta and (name != "to" or "cpu" in map(str, arguments))
                if leaves and named.get("non_blocking"):
                    raise RuntimeError("to: a non_blocking copy from the device, which nothing waits for")
                if leaves:
                    self.waits.append(name)
                    tensor = torch.full(tensor.shape, tensor.dtype == torch.bool, dtype=tensor.dtype)
                return real[name](tensor, *arguments, **named)

            return read

        self._reads_zeros = True
        try:
            for name in READS:
                setattr(Tensor, name, read_as(name))
            yield
        finally:
            self._reads_zeros = False
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
    if inside is None:  # the gradient of what takes none
        return None
    if kind is Tensor:
        stride, dtype, device = more
        return torch.empty_strided(inside, stride, dtype=dtype, device=device)
    return kind(map(_make, inside))


def _begin(tensor: Tensor) -> int:
    """Where its memory begins, which those that are views of one another have in common."""
    return tensor.untyped_storage().data_ptr()


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

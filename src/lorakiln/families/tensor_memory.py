"""How many bytes of tensors are alive at once, counted and not measured.

On torch's meta device tensors have shapes and no numbers, so that a model of any size can be run through in seconds and
no memory. What a GPU allocates beside the tensors (its context, workspaces of its libraries, gaps) is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
Arguments = tuple[Any, ...]
Named = dict[str, Any]


class Peak(TorchDispatchMode):
    """Within it, every tensor that an operation makes is counted as long as its storage lives.

    Attributes:
        now, most: bytes alive, and the most of them since the last `again`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        result = _MADE.run(func, args, kwargs or {})
        if isinstance(result, Tensor):
            self._note(result)
        elif isinstance(result, list | tuple):
            self.hold(one for one in result if isinstance(one, Tensor))
        return result

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made outside."""
        for tensor in tensors:
            self._note(tensor)

    def again(self) -> int:
        """Begin anew with `most`; the bytes alive."""
        self.most = self.now
        return self.now

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = storage.nbytes()
        self._alive[key] = weakref.ref(storage, lambda _: self._forget(key)), size
        self.now += size
        self.most = max(self.most, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self._alive.pop(key)[1]


class _Made:
    """Runs operations on tensors without numbers, each once for the same shapes: a model's blocks are alike, and so are
    trainings that are counted one after another; what torch works out in Python for every one takes most of the time.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self._fresh: dict[OpOverload, bool] = {}

    def run(self, func: OpOverload, args: Arguments, kwargs: Named) -> Any:
        if func not in self._fresh:
            schema = func._schema
            self._fresh[func] = not schema.is_mutable and all(one.alias_info is None for one in schema.returns)
        key = _described((func, args, *kwargs.items())) if self._fresh[func] else None
        if key is None:
            return func(*args, **kwargs)
        if key not in self._known:
            result = func(*args, **kwargs)
            self._known[key] = _recipe(result)
            return result
        return _again(self._known[key], func, args, kwargs)


_MADE = _Made()


class GpuRules(TorchFunctionMode):
    """What a GPU's kernels keep, for tensors that are on none: attention that never holds its matrix (flash and the
    memory-efficient one alike), and autocast's conversions, which torch applies by the device's type.

    Autocast is told by that of the CPU, `torch.autocast("cpu", dtype)`, which does nothing else to such tensors.

    Args:
        single: whether autocast computes norms in float32, as it does for GPUs and not for the CPU.
        matrix: whether attention holds its matrix, as torch's plain kernel does, in float32.
    """

    def __init__(self, single: bool = True, matrix: bool = False) -> None:
        super().__init__()
        self._single, self._matrix = single, matrix
        self._converted: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu"):
            if func in HALF:
                args, kwargs = self._to(torch.get_autocast_dtype("cpu"), args, kwargs)
            elif func in SINGLE and self._single:
                args, kwargs = self._to(torch.float32, args, kwargs)
        if func is F.scaled_dot_product_attention:
            return (_attend_by_matrix if self._matrix else _attend)(*args, **kwargs)
        return func(*args, **kwargs)

    @contextmanager
    def autocast(self, dtype: torch.dtype) -> Iterator[None]:
        """Autocast, and what it converted once is given up at the end."""
        with torch.autocast("cpu", dtype):
            yield
        self._converted.clear()

    def _to(self, dtype: torch.dtype, args: Arguments, kwargs: Named) -> tuple[Arguments, Named]:
        def convert(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
                return value
            # Autocast keeps weights that it has converted. With gradients the graph holds them anyway.
            if torch.is_grad_enabled() or not (value.is_leaf and value.requires_grad):
                return value.to(dtype)
            return self._converted.setdefault(id(value), value.to(dtype))

        return tuple(map(convert, args)), {name: convert(value) for name, value in kwargs.items()}


def _described(value: Any) -> Any:
    """What an operation's result depends on, hashable; None if it depends on numbers."""
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype) if value.device == META else None
    if not isinstance(value, list | tuple):
        return (type(value), value)
    parts = tuple(map(_described, value))
    return None if None in parts else parts


def _recipe(result: Any) -> Any:
    """From which `_again` makes another result like it; () if it cannot."""
    if isinstance(result, Tensor):
        return (result.shape, result.stride(), result.dtype) if result.device == META else ()
    if not isinstance(result, tuple):
        return ()
    parts = [None if one is None else _recipe(one) for one in result]
    return () if () in parts else parts


def _again(recipe: Any, func: Callable[..., Any], args: Arguments, kwargs: Named) -> Any:
    if recipe == ():
        return func(*args, **kwargs)
    if isinstance(recipe, list):
        return tuple(one if one is None else _again(one, func, args, kwargs) for one in recipe)
    shape, stride, dtype = recipe
    return torch.empty_strided(shape, stride, dtype=dtype, device=META)


HALF = {F.linear, F.conv2d, F.scaled_dot_product_attention, torch.matmul, torch.bmm, torch.baddbmm, torch.addmm}
HALF |= {torch.conv2d, Tensor.matmul, Tensor.__matmul__, Tensor.bmm}
SINGLE = {F.group_norm, F.layer_norm, torch.group_norm, torch.layer_norm}


def _attend(query: Tensor, key: Tensor, value: Tensor, *mask: Any, **rest: Any) -> Tensor:
    attended: Tensor = _Attention.apply(query, key, value)
    return attended


def _attend_by_matrix(query: Tensor, key: Tensor, value: Tensor, *mask: Any, **rest: Any) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        weights = (query.float() @ key.float().mT).softmax(-1)
        return (weights @ value.float()).to(query.dtype)


class _Attention(torch.autograd.Function):
    """softmax(QK^T)V as flash attention (arXiv 2307.08691) keeps it: inputs, output, and a number a row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # The kernels write (B, L, H, D), so that what follows joins the heads without a copy.
        output = query.new_empty(query.shape[0], *query.shape[-3:-1][::-1], value.shape[-1]).transpose(1, 2)
        rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, rows)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *_ = ctx.saved_tensors
        sums = torch.empty_like(query, dtype=torch.float32)  # in which the query's gradient is added up
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del sums
        return found


def count_held_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))

"""All adapter weights as one tensor: one norm and one all-reduce a step, and one call of an element-wise optimizer.

Parts with a learning rate of their own lie side by side in it.

A LoRA has hundreds of small tensors; what is done to each of them separately costs more than the arithmetic.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.optim.state import Owner

_ALIGN = 64  # elements; 256 bytes, as CUDA's matrix products like their operands


class FlatWeights:
    """Makes the data and the gradients of `parameters` views into two flat tensors.

    Args:
        parameters: (name, parameter) of all that is trained, on one device, float32. They stay what they were to
            everybody else; `parameter.grad` must not be set to None.
        part_of: the part that a parameter's name belongs to.

    Attributes:
        weights: (n,) all weights; its gradient is the first n of `gradients`.
        parts: by part what an element-wise optimizer gets, a view into `weights`, in order; if there is but one part,
            `weights` itself.
        gradients: (n + 1,) the gradients, and in the last place the loss, so that one all-reduce sums both.
        names: in order.
    """

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], part_of: Callable[[str], str] = lambda name: ""
    ) -> None:
        self._pieces: dict[str, tuple[int, torch.Size]] = {}
        pairs, size = sorted(parameters, key=lambda pair: part_of(pair[0])), 0
        begins: dict[str, int] = {}
        self._part_of = {name: part_of(name) for name, _ in pairs}
        for name, parameter in pairs:
            begins.setdefault(part_of(name), size)
            self._pieces[name] = (size, parameter.shape)
            size += -(-parameter.numel() // _ALIGN) * _ALIGN
        device = pairs[0][1].device
        self.weights = nn.Parameter(torch.zeros(size, device=device))
        self.gradients = torch.zeros(size + 1, device=device)
        self.weights.grad = self.gradients[:-1]
        self.parts = self._make_parts(begins)
        self._parameters = dict(pairs)
        for name, parameter in pairs:
            view = self._piece(self.weights.data, name)
            view.copy_(parameter.data)
            parameter.data = view
        self.gather_gradients()

    def _make_parts(self, begins: dict[str, int]) -> dict[str, nn.Parameter]:
        if len(begins) == 1:
            return dict.fromkeys(begins, self.weights)
        ends = [*list(begins.values())[1:], len(self.weights)]
        parts = {}
        for (part, begin), end in zip(begins.items(), ends, strict=True):
            parts[part] = nn.Parameter(self.weights.data[begin:end])
            parts[part].grad = self.gradients[begin:end]
        return parts

    def groups(self, elementwise: bool) -> list[dict[str, Any]]:
        """torch's parameter groups, one for each part: of its one vector, or of its tensors as they are."""
        if elementwise:
            return [{"params": [vector], "name": part} for part, vector in self.parts.items()]
        named = self._parameters.items()
        return [
            {"params": [parameter for name, parameter in named if self._part_of[name] == part], "name": part}
            for part in self.parts
        ]

    def owners(self, elementwise: bool) -> list[Owner]:
        """What the parameters of these groups are, in order: by this an optimizer's state is named."""
        if not elementwise:
            return [Owner(name) for name in self._parameters]
        return [self._vector(part) for part in self.parts]

    def _vector(self, part: str) -> Owner:
        starts = {name: start for name, (start, _) in self._pieces.items() if self._part_of[name] == part}
        first, size = min(starts.values()), len(self.parts[part])
        ends = [start - first for start in list(starts.values())[1:]] + [size]
        places = {name: slice(start - first, end) for (name, start), end in zip(starts.items(), ends, strict=True)}
        return Owner(part or "all", size, places)

    def gather_gradients(self) -> None:
        """Let every parameter's gradient be its part of `gradients` (again: `Module.zero_grad` cuts them loose)."""
        for name, parameter in self._parameters.items():
            parameter.grad = self._piece(self.gradients, name)

    @property
    def names(self) -> list[str]:
        return list(self._pieces)

    @property
    def count(self) -> int:
        """Trained numbers, without the padding between them."""
        return sum(shape.numel() for _, shape in self._pieces.values())

    def spans(self, of: Callable[[str], str]) -> dict[str, list[slice]]:
        """Where in `weights` what belongs together lies, with the padding behind it: as few slices as there can be.

        Args:
            of: what a parameter's name belongs to.
        """
        found: dict[str, list[slice]] = {}
        starts = [start for start, _ in self._pieces.values()]
        for name, start, end in zip(self._pieces, starts, [*starts[1:], len(self.weights)], strict=True):
            slices = found.setdefault(of(name), [])
            if slices and slices[-1].stop == start:
                start = slices.pop().start
            slices.append(slice(start, end))
        return found

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Name -> view of its part of a tensor laid out as `weights` is."""
        return {name: self._piece(flat, name) for name in self._pieces}

    def join(self, named: dict[str, Tensor]) -> Tensor:
        """The inverse of `split`, as a new tensor.

        Raises:
            KeyError: a name is missing.
        """
        flat = torch.zeros_like(self.weights.data)
        for name in self._pieces:
            self._piece(flat, name).copy_(named[name])
        return flat

    def _piece(self, flat: Tensor, name: str) -> Tensor:
        start, shape = self._pieces[name]
        return flat[start : start + shape.numel()].view(shape)

"""An optimizer's state, whatever its kind: tensors by name and a record of the rest, and back again bit for bit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# How it computes is chosen when it is built, by device; it is no part of a state that may go on on another.
BUILT = ("fused", "foreach", "capturable")
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Owner:
    """One parameter that an optimizer works on.

    Attributes:
        name: of the adapter's tensor that it is, or of the vector.
        size: of the vector, elements; None for a tensor that is as it is.
        pieces: by tensor, where it lies in the vector, the padding behind it included.
    """

    name: str
    size: int | None = None
    pieces: Mapping[str, slice] | None = None


def take_state(optimizer: Optimizer, owners: Sequence[Owner]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record, JSON-able, and the tensors by name: "optimizer.exp_avg/<the adapter's tensor>". They are the
    optimizer's own: copy what is to outlast its next step.

    Args:
        owners: of the parameters of all groups, in order.

    Raises:
        TypeError: it holds something that is no tensor, number, text, None, list, tuple or dict.
    """
    tensors: dict[str, Tensor] = {}
    whole = dict(optimizer.state_dict())
    state = whole.pop("state")
    record = {
        "rest": _take(whole, "", None, tensors),
        "state": [
            [key, _take(value, "", owners[key], tensors) if isinstance(key, int) else _take(value, key, None, tensors)]
            for key, value in state.items()
        ],
    }
    return record, tensors


def put_state(
    optimizer: Optimizer, owners: Sequence[Owner], record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer that was built of the same settings the state that `take_state` took, on any device.

    Raises:
        KeyError: a tensor is missing.
        RuntimeError: a tensor has another size.
        ValueError: there are other parameters.
    """
    state = {key: _put(value, owners[key] if isinstance(key, int) else None, tensors) for key, value in record["state"]}
    rest = _put(record["rest"], None, tensors)
    for group, built in zip(rest["param_groups"], optimizer.param_groups, strict=True):
        group.update({flag: built[flag] for flag in BUILT if flag in built})
    optimizer.load_state_dict({**rest, "state": state})
    # torch has given floats and integers the parameters' own dtype; devices are right.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, saved in state.items():
        if isinstance(key, int):
            loaded = optimizer.state[parameters[key]]
            loaded.update({name: _as_saved(saved[name], value) for name, value in loaded.items() if name in saved})


def iterate_state_tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in an optimizer's `state`, or in a part of it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from iterate_state_tensors(inner)


def count_state_bytes(build: Callable[[list[dict[str, Any]]], Optimizer], optimizer: Optimizer) -> int:
    """What the state of an optimizer will hold once it has made a step, in bytes: of one that is built again, of
    tensors without numbers; twice its parameters where it cannot do with such.
    """
    groups: list[dict[str, Any]] = [
        {"params": [_hollow(one) for one in group["params"]], "name": ""} for group in optimizer.param_groups
    ]
    hollow = build(groups)
    try:
        hollow.step()
    except (NotImplementedError, RuntimeError):  # it reads numbers
        parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        return 2 * sum(parameter.nbytes for parameter in parameters)
    return sum(tensor.nbytes for tensor in iterate_state_tensors(hollow.state))


def _hollow(parameter: Tensor) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.empty_like(parameter, device="meta"))
    made.grad = torch.empty_like(made)
    return made


def _take(value: Any, path: str, owner: Owner | None, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if owner and owner.pieces and value.shape == (owner.size,):
            tensors |= {f"optimizer.{path}/{name}": value[place] for name, place in owner.pieces.items()}
            return {"pieces": path}
        name = f"optimizer.{path}/{owner.name if owner else ''}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        # Pairs, since JSON's keys are texts alone.
        return {"dict": [[key, _take(inner, _below(path, key), owner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        taken = [_take(inner, _below(path, number), owner, tensors) for number, inner in enumerate(value)]
        return {"tuple": taken} if isinstance(value, tuple) else {"list": taken}
    if not isinstance(value, PLAIN):
        raise TypeError(f"an optimizer's state must be of tensors and plain values, and {path!r} is a {type(value)}")
    return value


def _put(taken: Any, owner: Owner | None, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(taken, Mapping):
        return taken
    ((form, inner),) = taken.items()
    if form == "tensor":
        return tensors[inner].clone()
    if form == "pieces":
        assert owner is not None and owner.pieces is not None  # nothing but a vector's state was taken in pieces
        return _join(owner, {name: tensors[f"optimizer.{inner}/{name}"] for name in owner.pieces})
    if form == "dict":
        return {key: _put(value, owner, tensors) for key, value in inner}
    values = [_put(value, owner, tensors) for value in inner]
    return tuple(values) if form == "tuple" else values


def _join(owner: Owner, pieces: Mapping[str, Tensor]) -> Tensor:
    assert owner.size is not None and owner.pieces is not None  # it owns a vector
    like = next(iter(pieces.values()))
    vector = torch.empty(owner.size, dtype=like.dtype, device=like.device)
    for name, piece in pieces.items():
        vector[owner.pieces[name]] = piece
    return vector


def _as_saved(saved: Any, loaded: Any) -> Any:
    if isinstance(loaded, Tensor) and isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(loaded, dict) and isinstance(saved, dict):
        return {key: _as_saved(saved[key], value) if key in saved else value for key, value in loaded.items()}
    if isinstance(loaded, list | tuple) and isinstance(saved, list | tuple) and len(saved) == len(loaded):
        return type(loaded)(_as_saved(*pair) for pair in zip(saved, loaded, strict=True))
    return loaded


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)

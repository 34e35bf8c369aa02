"""The encoded folder as training reads it: memory-mapped latents and conditioning, by bucket and row."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.rows import LOSS_MASK, EncodedBucket, EncodedRow, Index

LATENTS = ("latent_mean", "latent_std")


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size.

    Attributes:
        name: "64x48", width x height in pixels.
        rows: one a picture.
        mean, std: (N, V, C, h, w) the posterior of each picture's variants, scaled as the network sees them.
        conditioning: tensors with first dimension N, those of `by_variant` with a second, V.
        mask: (N, V, h, w) in [0, 1], how much of each cell of each picture's variants is to be learned; None: all of
            all pictures.
        by_variant: names of conditioning that is another for each variant, such as where it was cropped.
    """

    name: str
    rows: list[EncodedRow]
    mean: Tensor
    std: Tensor
    conditioning: dict[str, Tensor]
    mask: Tensor | None = None
    by_variant: frozenset[str] = frozenset()

    def condition(self, rows: Tensor, variants: Tensor) -> dict[str, Tensor]:
        """The conditioning of some variants of some rows, both (B,): tensors with first dimension B."""
        return {
            name: tensor[rows, variants] if name in self.by_variant else tensor[rows]
            for name, tensor in self.conditioning.items()
        }

    def condition_plain(self, row: int) -> dict[str, Tensor]:
        """The same of one row's plain picture, the first of its variants."""
        return self.condition(torch.tensor([row]), torch.tensor([0]))

    @property
    def tensors(self) -> list[Tensor]:
        """All of them."""
        found = [self.mean, self.std, *self.conditioning.values()]
        return found if self.mask is None else [*found, self.mask]


class EncodedDataset:
    """What `encode` wrote.

    Attributes:
        buckets: in the index's order.
        empty: the empty caption's conditioning, first dimension 1.
        variants: how many of each picture there are: the second dimension of its latents.
        drawn: the conditioning of all texts that captions are drawn from, (T, ...), where they were embedded ahead.
    """

    def __init__(
        self,
        buckets: list[Bucket],
        empty: dict[str, Tensor],
        variants: int = 1,
        index: Index | None = None,
        drawn: dict[str, Tensor] | None = None,
    ) -> None:
        self.buckets, self.empty, self.variants, self._index = buckets, empty, variants, index
        self.drawn = drawn or {}

    @classmethod
    def read(cls, folder: Path) -> "EncodedDataset":
        """A folder's.

        Raises:
            UserError: the folder is not there, or a file does not have the rows that the index lists.
        """
        if not (folder / "index.json").is_file():
            raise UserError("no encoded pictures here", where=folder, fix="run the stage `encode` first")
        index = Index.read(folder / "index.json")
        buckets = [_read_bucket(folder, entry, index) for entry in index.buckets]
        empty = load_tensors(folder / "empty.safetensors")[0]
        return cls(buckets, empty, len(index.variants), index, _read_drawn(folder, index))

    @property
    def index(self) -> Index:
        """index.json; only what was read from a folder has one."""
        assert self._index is not None
        return self._index

    @property
    def trigger(self) -> str:
        return self.index.dataset.trigger

    @property
    def nbytes(self) -> int:
        """Of all buckets' tensors, and of the texts that are drawn."""
        buckets = sum(one.nbytes for bucket in self.buckets for one in bucket.tensors)
        return buckets + sum(one.nbytes for one in self.drawn.values())

    def to_device(self, device: torch.device, whole: bool) -> "EncodedDataset":
        """Move to a GPU what every batch needs, the empty caption's conditioning, and all buckets if `whole`.

        On the CPU, and where there is no room for all, the files stay mapped and each batch is read from them.
        """
        if device.type != "cuda":
            return self
        if whole:
            self.buckets = [
                Bucket(
                    b.name,
                    b.rows,
                    b.mean.to(device),
                    b.std.to(device),
                    _moved(b.conditioning, device),
                    None if b.mask is None else b.mask.to(device),
                    b.by_variant,
                )
                for b in self.buckets
            ]
            self.drawn = _moved(self.drawn, device)
        self.empty = _moved(self.empty, device)
        return self


def _read_bucket(folder: Path, entry: EncodedBucket, index: Index) -> Bucket:
    path = folder / entry.file
    tensors, _ = load_tensors(path)
    if any(name not in tensors for name in LATENTS) or any(
        len(tensor) != len(entry.rows) for tensor in tensors.values()
    ):
        raise UserError("does not hold what index.json lists", where=path, fix="run the stage `encode` again")
    mask, mean = tensors.get(LOSS_MASK), tensors["latent_mean"]
    wrong = [name for name in index.by_variant if name not in tensors or tensors[name].shape[:2] != mean.shape[:2]]
    if wrong or mean.shape[1] != len(index.variants):
        what = f"{(wrong or LATENTS)[0]} is not there for every variant that index.json lists"
        raise UserError(what, where=path, fix="run the stage `encode` again")
    if mask is not None and mask.shape != (*mean.shape[:2], *mean.shape[3:]):
        shape = tuple(mask.shape)
        what = f"its {LOSS_MASK} has the shape {shape}, which is not that of its latents without their channels"
        raise UserError(what, where=path, fix="run the stage `encode` again")
    conditioning = {name: tensor for name, tensor in tensors.items() if name not in (*LATENTS, LOSS_MASK)}
    by_variant = frozenset(index.by_variant)
    return Bucket(entry.name, entry.rows, mean, tensors["latent_std"], conditioning, mask, by_variant)


def _read_drawn(folder: Path, index: Index) -> dict[str, Tensor]:
    if index.captions is None or not index.captions.file:
        return {}
    path = folder / index.captions.file
    tensors, _ = load_tensors(path)
    if any(len(tensor) != len(index.captions.texts) for tensor in tensors.values()):
        raise UserError("does not hold what index.json lists", where=path, fix="run the stage `encode` again")
    return tensors


def _moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}

"""Where a captioner's model is, and what it is known by."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.families.identity import hash_quickly
from lorakiln.families.model_source import find_model_folder
from lorakiln.schema.model import Source

FIX = "name a hub id or a folder in caption.source.path, or, where that is null, in model.captioner.path"


def locate(source: Source) -> Path:
    """Where a local one would be.

    Raises:
        UserError: a file is there, and no folder.
    """
    folder = Path(source.path).expanduser()
    if folder.is_file():
        raise UserError("a file, not a folder with a captioner's files", where=folder, fix=FIX)
    return folder


def identify_source(source: Source, patterns: Sequence[str]) -> dict[str, Any]:
    """A local folder is known by its content, a hub's model by name and revision, so that nothing need be fetched where
    all captions are there already.

    Args:
        patterns: which files of a folder are read.

    Raises:
        UserError: a file is there, and no folder.
    """
    folder = locate(source)
    if folder.is_dir():
        used = sorted({path for pattern in patterns for path in folder.glob(pattern)})
        return {"hash": hash_data(sorted([path.name, _hash(path)] for path in used))}
    return {"path": source.path, "revision": source.revision}


def _hash(path: Path) -> str:
    """Of a large file of tensors some slices count (`families.identity`); an ONNX file has no header to know it by."""
    return hash_file(path) if path.suffix == ".onnx" else hash_quickly(path)


class Writer(Protocol):
    """A loaded model that writes about pictures."""

    def write(self, pictures: Sequence[Path], settings: Any, done: Callable[[int, str], object]) -> Iterator[str]: ...


class FolderCaptioner(ABC):
    """A captioner that is a folder with a model of transformers; loaded when there is something to write."""

    FILES: ClassVar[list[str]]  # patterns of what is read of the folder

    def __init__(self, source: Source, settings: Any) -> None:
        self.source, self.settings = source, settings

    def identify(self) -> dict[str, Any]:
        """See `captioners.Captioner`.

        Raises:
            UserError: a file is there, and no folder.
        """
        return identify_source(self.source, self.FILES)

    def write(self, pictures: Sequence[Path], done: Callable[[int, str], object]) -> Iterator[str]:
        """See `captioners.Captioner`."""
        from lorakiln.console.gpu import choose_device, describe_device

        locate(self.source)
        folder = find_model_folder(self.source.path, self.source.revision, self.FILES)
        device = choose_device()
        print(
            f"caption: {format_count(len(pictures), 'picture')} for the captioner, on {describe_device(device)}",
            flush=True,
        )
        yield from self.load(folder, device).write(pictures, self.settings, done)

    @abstractmethod
    def load(self, folder: Path, device: Any) -> Writer:
        """The model, on a `torch.device`. What it needs is imported here: a run that reuses all its captions should not
        wait for transformers."""

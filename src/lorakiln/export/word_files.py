"""Words that were trained, as files of their own."""

from collections.abc import Iterable
from pathlib import Path

from lorakiln.adapters.adapter import Embedding
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.versions import BaseVersion
from lorakiln.lora_files.embeddings import is_equal, name_file, read_embeddings, save_embedding, split_embeddings

FOLDER = "embeddings"  # as A1111 and ComfyUI call theirs


def write_words(words: Iterable[Embedding], folder: Path, suffix: str, version: BaseVersion) -> list[str]:
    """Write words below `folder`, in float32, and read each back.

    Args:
        suffix: of the files' names.
        version: of the base that reads them.

    Returns:
        the files, relative to `folder`.

    Raises:
        UserError: two words have files of one name, or a file does not hold what was trained.
    """
    told = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{version.modelspec}/textual-inversion",
        "modelspec.implementation": version.implementation,
    }
    written: list[str] = []
    for one in words:
        path = folder / FOLDER / name_file(one.word, suffix)
        if path.exists():
            fix = "call one of them otherwise in train.tokens"
            raise UserError(f"two words would be files of the name {path.name}", where=FOLDER, fix=fix)
        save_embedding(one, path, {**told, "modelspec.title": one.word})
        if not is_equal(read_embeddings(path)[one.word], one):
            raise UserError(f"{one.word} differs from what was trained", where=path.name)
        written.append(path.relative_to(folder).as_posix())
    return written


def check_bundle(words: Iterable[Embedding], path: Path) -> None:
    """Refuse a LoRA file that does not bring along the very words that were trained.

    Raises:
        UserError: one is missing, or another.
    """
    found = split_embeddings(load_tensors(path)[0], path)[1]
    if any(one.word not in found or not is_equal(found[one.word], one) for one in words):
        raise UserError("its words differ from what was trained", where=path.name)

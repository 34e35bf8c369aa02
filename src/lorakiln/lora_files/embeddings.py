"""Words' embeddings that a LoRA file brings along (pivotal tuning, textual inversion).

    bundle_emb.<word>.string_to_param.*   (n, width), or .emb_params: one text encoder's (A1111, OneTrainer)
    bundle_emb.<word>.clip_l, .clip_g     of SDXL's two
    <word>                                with its brackets, (width,) or (n, width): cloneofsimo's

Sources: A1111, extensions-builtin/Lora/networks.py and modules/textual_inversion; cloneofsimo/lora, save_safeloras.
"""

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.adapter import Embedding
from lorakiln.adapters.checks import FIX, to_weight
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_text

BUNDLE = "bundle_emb."
_ONE = ("string_to_param.*", "emb_params")
_CLIPS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_NOTHING = "string_to_token.*"  # a number of A1111's own files, which tells nothing
_BRACKETS = re.compile(r"<[^<>:]+>")


def split_embeddings(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Embedding]]:
    """A file's tensors without its embeddings, and these by their words.

    Raises:
        UserError: an embedding is none: another shape, or numbers that are not finite.
    """
    rest: dict[str, Tensor] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(BUNDLE) and key.endswith(f".{_NOTHING}"):
            continue
        word, part = _of_key(key)
        if word is None:
            rest[key] = tensor
            continue
        vectors = to_weight(tensor, f"{path}: {key}", (1, 2))
        if part in found.setdefault(word, {}):
            raise UserError(f"two embeddings of {word}", where=path, fix=FIX)
        found[word][part] = vectors if vectors.ndim == 2 else vectors[None]
    return rest, {word: Embedding(word, vectors) for word, vectors in sorted(found.items())}


def warn_unused(embeddings: Mapping[str, Embedding], path: Path) -> None:
    """Say that what a file brings along does not act here."""
    if not embeddings:
        return
    told = f"{path}: its embeddings are left out, and {', '.join(embeddings)} read as any other text"
    command = f"lorakiln convert {shlex.quote(str(path))} lora.safetensors --embeddings FOLDER"
    fix = f"`{command}` writes them for programs that use them"
    print(escape_text(f"warning: {told}\n  fix: {fix}"), file=sys.stderr, flush=True)


def _of_key(key: str) -> tuple[str | None, str]:
    """The word and the text encoder of a key; None where it is no embedding's."""
    if _BRACKETS.fullmatch(key):
        return key, "text_encoder"
    if not key.startswith(BUNDLE):
        return None, ""
    word, _, ending = key.removeprefix(BUNDLE).partition(".")
    return (word, _CLIPS.get(ending, "text_encoder")) if ending in (*_ONE, *_CLIPS) and word else (None, "")


def bundle_embeddings(embeddings: Iterable[Embedding]) -> dict[str, Tensor]:
    """The tensors with which a kohya file brings them along.

    Raises:
        UserError: a word holds a dot, which ends it there.
    """
    tensors: dict[str, Tensor] = {}
    for one in embeddings:
        if "." in one.word:
            fix = "leave it out: --without-embeddings"
            raise UserError(f"the embedding's word {one.word!r} holds a dot, which ends it in a LoRA file", fix=fix)
        tensors |= {f"{BUNDLE}{one.word}.{ending}": vectors for ending, vectors in _endings(one, _ONE[0]).items()}
    return tensors


def _endings(embedding: Embedding, single: str) -> dict[str, Tensor]:
    if set(embedding.vectors) == {"text_encoder"}:
        return {single: embedding.vectors["text_encoder"]}
    return {ending: embedding.vectors[part] for ending, part in _CLIPS.items() if part in embedding.vectors}


def write_embeddings(embeddings: Iterable[Embedding], folder: Path, overwrite: bool) -> list[Path]:
    """Each as a file of its own, <word>.safetensors, as A1111, ComfyUI and diffusers' `load_textual_inversion` read it.

    Raises:
        UserError: a file is there already.
    """
    files = {}
    for one in embeddings:
        name = re.sub(r"[^\w-]+", "_", one.word).strip("_") or "embedding"
        path = folder / f"{name}.safetensors"
        if path in files or (path.exists() and not overwrite):
            raise UserError("is there already", where=path, fix="give --overwrite, or another folder")
        files[path] = one
    for path, one in files.items():
        save_tensors(path, _endings(one, _ONE[1]), {"format": "pt", "word": one.word})
    return list(files)


def join_embeddings(given: Sequence[Mapping[str, Embedding]]) -> dict[str, Embedding]:
    """Those of several files.

    Raises:
        UserError: a word means other things in two of them.
    """
    found: dict[str, Embedding] = {}
    for embeddings in given:
        for word, one in embeddings.items():
            if word in found and not _equal(found[word], one):
                what = f"the files have different embeddings of {word}"
                raise UserError(what, fix="leave them out: --without-embeddings")
            found[word] = one
    return found


def _equal(one: Embedding, other: Embedding) -> bool:
    return set(one.vectors) == set(other.vectors) and all(
        vectors.shape == other.vectors[part].shape and bool((vectors == other.vectors[part]).all())
        for part, vectors in one.vectors.items()
    )

"""Words' embeddings that a LoRA file brings along (pivotal tuning, textual inversion).

    bundle_emb.<word>.string_to_param.*   (n, width), or .emb_params: one text encoder's (A1111, OneTrainer)
    bundle_emb.<word>.clip_l, .clip_g     of SDXL's two
    <word>                                with its brackets, (width,) or (n, width): cloneofsimo's

A file of their own holds one word, which is the file's name, under the same endings and no other tensor; or, diffusers'
`learned_embeds.safetensors`, words as they are: (width,) or (n, width).
Sources: A1111, extensions-builtin/Lora/networks.py and modules/textual_inversion; cloneofsimo/lora, save_safeloras;
diffusers, loaders/textual_inversion.py and examples/textual_inversion.
"""

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.adapter import Embedding
from lorakiln.adapters.checks import FIX, to_weight
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_text
from lorakiln.families.model_source import PICKLES

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
        if _is_nothing(key):
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


def is_embedding(path: Path) -> bool:
    """Whether a file holds words' vectors and nothing else; no file that cannot be read is one.

    Raises:
        UserError: the file is missing or damaged.
    """
    if path.is_dir():
        return False
    return holds_words_alone(load_tensors(path)[0])


def describe_form(tensors: Mapping[str, Tensor]) -> str:
    """Whose names a file of words alone has for its tensors."""
    names = _list_telling(tensors)
    if names <= set(_CLIPS):
        return "SDXL's two encoders, clip_l and clip_g"
    if names <= set(_ONE):
        return f"A1111 ({min(names)})"
    return "bundle (bundle_emb)" if any(name.startswith(BUNDLE) for name in names) else "diffusers"


def _list_telling(tensors: Mapping[str, Tensor]) -> set[str]:
    """The names of tensors that tell something."""
    return {name for name in tensors if name != _NOTHING and not _is_nothing(name)}


def _is_nothing(key: str) -> bool:
    return key.startswith(BUNDLE) and key.endswith(f".{_NOTHING}")


def holds_words_alone(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's tensors are words' vectors and nothing else."""
    names = _list_telling(tensors)
    own = names == {"emb_params"} or names == {"string_to_param.*"} or (names and names <= set(_CLIPS))
    # A LoRA's names have dots.
    return bool(own or (len(names) == 1 and "." not in min(names)) or (names and all(_of_key(one)[0] for one in names)))


def read_embeddings(path: Path, word: str | None = None) -> dict[str, Embedding]:
    """The words of a file of their own, in any of the forms above, or of a LoRA file that brings them along.

    Args:
        word: what the file's one word is to be; without it the name that the file itself holds, or has.

    Raises:
        UserError: the file is missing, damaged, a pickle, or holds no words' vectors; or several, and `word` is given.
    """
    tensors, metadata = _load(path)
    found = _find_embeddings(tensors, metadata, path)
    if not found:
        some = ", ".join(sorted(tensors)[:3]) or "no tensors"
        raise UserError(f"it holds no words' embeddings: {some}", where=path, fix="name a textual inversion")
    if word is None:
        return found
    if len(found) > 1:
        raise UserError(f"it holds several words, {', '.join(found)}", where=path, fix=f"leave ={word} out")
    return {word: replace(next(iter(found.values())), word=word)}


def find_embeddings(path: Path) -> tuple[dict[str, Embedding], bool]:
    """The words of a file, as `read_embeddings` reads them, which may be none; and whether it holds nothing else.

    Raises:
        UserError: the file is missing, damaged or a pickle.
    """
    tensors, metadata = _load(path)
    return _find_embeddings(tensors, metadata, path), holds_words_alone(tensors)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix.lower() in PICKLES:
        fix = "get the .safetensors version of it"
        raise UserError("a pickle, which can run code when it is read", where=path, fix=fix)
    return load_tensors(path)


def _find_embeddings(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> dict[str, Embedding]:
    names = _list_telling(tensors)
    if holds_words_alone(tensors) and not any(_of_key(name)[0] for name in names):
        single = min(names)
        known = single in (*_ONE, *_CLIPS)
        said = (metadata.get("word") or path.stem) if known else single
        # The same tensors as a bundle's.
        endings = {name if known else _ONE[1]: tensors[name] for name in names}
        return {said: _join_parts(said, endings, path)}
    return split_embeddings(tensors, path)[1]


def compute_embedding_short_hash(path: Path) -> str:
    """What A1111 calls an embedding's hash: the first 12 hex digits of its file's SHA-256."""
    return hash_file(path)[:12]


def _join_parts(word: str, endings: Mapping[str, Tensor], path: Path) -> Embedding:
    vectors = {}
    for ending, tensor in endings.items():
        rows = to_weight(tensor, f"{path}: {ending}", (1, 2))
        vectors[_CLIPS.get(ending, "text_encoder")] = rows if rows.ndim == 2 else rows[None]
    return Embedding(word, dict(sorted(vectors.items())))


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
        path = folder / name_file(one.word)
        if path in files or (path.exists() and not overwrite):
            raise UserError("is there already", where=path, fix="give --overwrite, or another folder")
        files[path] = one
    for path, one in files.items():
        save_embedding(one, path)
    return list(files)


def name_file(word: str, suffix: str = "") -> str:
    """What a word's own file is called, which is what other programs call the word."""
    stem = re.sub(r"[^\w-]+", "_", word).strip("_") or "embedding"
    return f"{stem}{suffix}.safetensors"


def save_embedding(embedding: Embedding, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write one word's own file, its numbers as they are; raises UserError if the disk is full."""
    save_tensors(path, _endings(embedding, _ONE[1]), {"format": "pt", "word": embedding.word, **(metadata or {})})


def save_words(words: Mapping[str, Embedding], path: Path, form: str) -> dict[str, Tensor]:
    """Write words as one file of their own, their numbers as they are; its tensors.

    Args:
        form: "kohya": one word, as A1111 and ComfyUI read it; "diffusers": any number, by their names, of bases with
            one text encoder.

    Raises:
        UserError: the form has no place for them.
    """
    if form == "diffusers":
        if pairs := [word for word, one in words.items() if set(one.vectors) != {"text_encoder"}]:
            fix = "leave --to out: clip_l and clip_g are what diffusers' `load_textual_inversion` is given, one by one"
            raise UserError(
                f"diffusers' files are of one text encoder, and {pairs[0]} is for two", where="--to", fix=fix
            )
        tensors = {word: one.vectors["text_encoder"] for word, one in words.items()}
        save_tensors(path, tensors, {"format": "pt"})
        return tensors
    if len(words) > 1:
        fix = "give --to diffusers, whose files hold several"
        raise UserError(f"a file of A1111's holds one word, and these are {', '.join(words)}", where="--to", fix=fix)
    (one,) = words.values()
    save_embedding(one, path)
    return _endings(one, _ONE[1])


def join_embeddings(
    given: Iterable[Mapping[str, Embedding]], fix: str = "leave them out: --without-embeddings"
) -> dict[str, Embedding]:
    """Those of several files.

    Args:
        fix: what to do where they do not go together.

    Raises:
        UserError: a word means other things in two of them.
    """
    found: dict[str, Embedding] = {}
    for embeddings in given:
        for word, one in embeddings.items():
            if word in found and not is_equal(found[word], one):
                what = f"the files have different embeddings of {word}"
                raise UserError(what, fix=fix)
            found[word] = one
    return found


def is_equal(one: Embedding, other: Embedding) -> bool:
    return set(one.vectors) == set(other.vectors) and all(
        vectors.shape == other.vectors[part].shape and bool((vectors == other.vectors[part]).all())
        for part, vectors in one.vectors.items()
    )

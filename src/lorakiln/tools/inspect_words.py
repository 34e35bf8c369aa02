"""What a file of words' vectors is (textual inversion): its form, the base that reads it, and how it is used."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.adapters.adapter import Embedding
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.terminal_text import escape_text
from lorakiln.families.kinds import list_generations
from lorakiln.lora_files.embeddings import describe_form, read_embeddings
from lorakiln.tools.inspect import format_override, list_words
from lorakiln.tools.inspect_listing import shorten_value


def inspect_words(path: Path) -> dict[str, Any]:
    """Everything that a file of words alone says, as plain data.

    Raises:
        UserError: it is missing, damaged, a pickle, or holds no words' vectors.
    """
    found = read_embeddings(path)
    tensors, metadata = load_tensors(path)
    return {
        "file": str(path),
        "form": describe_form(tensors),
        "base": " or ".join(_list_bases(list(found.values()))) or "unknown",
        "dtype": sorted({str(one.dtype).removeprefix("torch.") for one in tensors.values() if one.ndim}),
        "embeddings": [_word(one) for one in found.values()],
        "metadata": dict(sorted(metadata.items())),
        "retrain": _suggest_settings(path, found),
    }


def format_words(found: Mapping[str, Any]) -> str:
    """Lines for people from what `inspect_words` found; control characters in them are shown."""
    lines = [
        found["file"],
        f"  form        {found['form']}: words' vectors (textual inversion), no LoRA",
        f"  base        {found['base']}",
        f"  dtype       {', '.join(found['dtype'])}",
    ]
    for one in found["embeddings"]:
        told = ", ".join(f"{part} {n} x {width}" for part, (n, width) in one["vectors"].items())
        lengths = ", ".join(f"{length:.3g}" for length in next(iter(one["lengths"].values())))
        lines.append(f"  word        {one['word']}: {told}; of lengths {lengths}")
    if found["metadata"]:
        shown = [f"  {shorten_value(key)}: {shorten_value(value)}" for key, value in found["metadata"].items()]
        lines += ["metadata", *shown]
    if found["retrain"]:
        lines.append("to go on training from it, after `python -m train +experiment=...`")
        lines.append("  " + " \\\n      ".join(found["retrain"]))
    return escape_text("\n".join(lines))


def _word(one: Embedding) -> dict[str, Any]:
    return {
        "word": one.word,
        "vectors": {part: list(rows.shape) for part, rows in one.vectors.items()},
        "lengths": {part: _lengths(rows) for part, rows in one.vectors.items()},
    }


def _lengths(rows: Tensor) -> list[float]:
    return [float(row.float().norm()) for row in rows]


def _list_bases(words: Sequence[Embedding]) -> list[str]:
    """The settings that suit bases whose text encoders read vectors of these widths."""
    widths = {tuple(sorted((part, rows.shape[1]) for part, rows in one.vectors.items())) for one in words}
    names = ("text_encoder", "text_encoder_2")
    return [
        name
        for name, version in list_generations().items()
        if widths == {tuple(sorted(zip(names, version.encoder_widths, strict=False)))}
    ]


def _suggest_settings(path: Path, words: Mapping[str, Embedding]) -> list[str]:
    """The settings with which its words are trained on, alone, each as one writes it in a shell; none where they
    cannot be written."""
    listed = list_words(words)
    begun = [shlex.quote("train.parts=[]"), format_override("train.adapter.init_from", str(path))]
    return [*begun, *listed] if listed else []

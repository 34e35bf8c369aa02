"""How a picture was drawn, in the text that A1111 writes and many programs read ("PNG Info")."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lorakiln.artefacts.atomic_file import replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.families.model_source import SINGLE_FILES
from lorakiln.sampling.draw import DrawJob

NEGATIVE = "Negative prompt: "  # begins the line behind the prompt


class Applied(NamedTuple):
    """A LoRA that a picture was drawn with.

    Attributes:
        name: its file's, without the ending; two files may have one name.
        hash: as `lora_files.identity.compute_lora_short_hash` has it.
    """

    name: str
    weight: float
    hash: str


def format_infotext(
    job: DrawJob,
    steps: int,
    guidance: float,
    negative_prompt: str = "",
    model: str = "",
    loras: Sequence[Applied] = (),
    clip_skip: int = 1,
    model_hash: str = "",
    embeddings: Mapping[str, str] | None = None,
) -> str:
    """The parameters of one picture in A1111's form (modules/infotext_utils.py there).

    Args:
        model: the base model's name, as a user would choose it; a file's ending is left out, as A1111 does.
        loras: written as A1111 takes them, in the prompt.
        clip_skip: as in `encode.clip_skip`.
        model_hash: as `families.file_hashes.compute_short_hash` has it.
        embeddings: the textual inversions' hashes by their words.
    """
    prompt = " ".join([job.prompt, *(f"<lora:{one.name}:{one.weight:g}>" for one in loras)])
    named = next((model.removesuffix(one) for one in SINGLE_FILES if model.endswith(one)), model)
    fields = {
        "Steps": steps,
        "Sampler": "DDIM",
        "CFG scale": float(guidance),
        "Seed": job.seed,
        "Size": f"{job.width}x{job.height}",
        "Model hash": model_hash or None,
        "Model": named or None,
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "Lora hashes": ", ".join(dict.fromkeys(f"{one.name}: {one.hash}" for one in loras)) or None,
        "TI hashes": ", ".join(f"{word}: {told}" for word, told in (embeddings or {}).items()) or None,
    }
    last = ", ".join(f"{name}: {_quote(value)}" for name, value in fields.items() if value is not None)
    negative = [NEGATIVE + negative_prompt] if negative_prompt else []
    return "\n".join([prompt.strip(), *negative, last])


def add_lora(text: str, used: Applied) -> str:
    """The infotext of a picture that was drawn with a LoRA before it had a file, as `format_infotext` tells of it."""
    *prompts, last = text.split("\n")
    end = next((number for number, line in enumerate(prompts) if line.startswith(NEGATIVE)), len(prompts))
    prompt = "\n".join(prompts[:end]) + f" <lora:{used.name}:{used.weight:g}>"
    hashes = _quote(f"{used.name}: {used.hash}")
    return "\n".join([prompt.strip(), *prompts[end:], f"{last}, Lora hashes: {hashes}"])


def save_picture(image: Image.Image, path: Path, text: str = "") -> None:
    """Write a PNG whose `parameters` chunk holds `text`; equal pictures and texts give equal bytes.

    Raises:
        UserError: the disk is full or not writable; nothing half is left.
    """
    chunks = PngInfo()
    if text:
        chunks.add_text("parameters", text)
    with explaining_disk_errors(path), replacing_file(path) as beside:
        image.save(beside, format="PNG", pnginfo=chunks)
        os.replace(beside, path)


def _quote(value: object) -> str:
    # A1111 splits the line at commas and colons; what holds one stands in quotes.
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text

"""Draw pictures with a base model and LoRAs: prompts, seeds, and grids over any two things."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from lorakiln.caption.text_cache import write_texts
from lorakiln.caption.trigger import prepend_trigger
from lorakiln.captioners.blip import BlipCaptioner
from lorakiln.console.counts import format_count
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import Batch, explaining_no_memory, is_tight
from lorakiln.console.progress import show_progress
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import choosing_threads
from lorakiln.families.file_hashes import compute_short_hash as base_hash
from lorakiln.families.learned_words import WordFinder
from lorakiln.families.protocol import Family, choose_drawing_dtype, choose_drawing_precision
from lorakiln.lora_files.applying import AppliedAdapters
from lorakiln.lora_files.embeddings import compute_embedding_short_hash, join_embeddings, read_embeddings
from lorakiln.lora_files.identity import compute_lora_short_hash as lora_hash
from lorakiln.lora_files.kohya_metadata import is_zero_terminal_snr
from lorakiln.lora_files.merging import check_fits
from lorakiln.lora_files.reading import read_any
from lorakiln.sampling import (
    Applied,
    DrawJob,
    check_steps,
    draw,
    follow_noise_schedule,
    format_infotext,
    save_picture,
)
from lorakiln.sampling.prompt_weights import WeightedPrompts
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.tools.draw_request import DrawRequest
from lorakiln.tools.start_picture import read_start_picture

HIDE_GPU = "end what else uses the GPU, or draw on the CPU: put CUDA_VISIBLE_DEVICES= before the command"
CHUNKS = 3  # at most, of a prompt


def describe_picture(picture: Path, trigger: str, model: ModelSettings) -> str:
    """What the model's captioner says of a picture, with the trigger words in front.

    Raises:
        UserError: there is no such picture, or it cannot be read; no captioner.
    """
    read_start_picture(picture)  # the captioner knows a dataset's pictures alone, which are looked at already
    captioner = BlipCaptioner(model.captioner, BlipSettings())
    return prepend_trigger(trigger, write_texts(captioner, {"it": picture})["it"])


def draw_requests(
    requests: Sequence[DrawRequest],
    model: ModelSettings,
    batch_size: int = 4,
    precision: str = "auto",
    embeddings: Mapping[Path, str | None] | None = None,
) -> Iterator[tuple[int, Image.Image, str]]:
    """(index, picture, infotext) of every request, those with the same LoRAs and settings together.

    Args:
        embeddings: textual inversions, each with the word that it is to be called by, None for its own.

    Raises:
        UserError: a file is not usable, or the model cannot draw the size.
    """
    starts = {path: read_start_picture(path) for path in {one.image for one in requests} if path}
    device = choose_device()
    where = f"{describe_device(device)} in {choose_drawing_precision(device, precision)}"
    print(f"drawing {format_count(len(requests), 'picture')}, on {where}", flush=True)
    family = _load_base(requests, model, device, precision)
    files = list(dict.fromkeys(path for request in requests for path, _ in request.loras))
    adapters = [read_any(path).adapter for path in files]
    for path, adapter in zip(files, adapters, strict=True):
        check_fits(family.adaptable(), adapter, path)
        follow_noise_schedule(family, is_zero_terminal_snr(adapter.metadata), path)
    given = {path: read_embeddings(path, word) for path, word in (embeddings or {}).items()}
    words = join_embeddings(given.values(), "give one of them another word: --embedding FILE=WORD")
    merged = AppliedAdapters(family, *adapters, embeddings=words)
    _warn_unread(WeightedPrompts(family), requests)
    hashes_of_words = {word: compute_embedding_short_hash(path) for path, found in given.items() for word in found}
    base, hashes = base_hash(model.path, family.facts["hash"]), {path: lora_hash(path) for path in files}
    with choosing_threads(family), show_progress("drawing", len(requests)) as bar:
        for members in _group(requests):
            first = requests[members[0]]
            with explaining_no_memory("putting the LoRAs on, and encoding the first picture", HIDE_GPU):
                merged.set_weights(*(first.weights.get(path, 0.0) for path in files))
                start, size = _start(family, first, model, starts)
            jobs = [
                DrawJob(requests[i].prompt, requests[i].seed, *(size or _size(requests[i], model))) for i in members
            ]
            batch = Batch(min(batch_size, len(jobs)), "drawing", advice="draw smaller pictures (--size)")
            pictures = draw(
                WeightedPrompts(family),
                jobs,
                first.steps,
                first.guidance,
                first.negative,
                batch,
                encoding=first.encoding,
                start=start,
                strength=first.strength,
                done=bar.advance,
            )
            used = [Applied(path.stem, weight, hashes[path]) for path, weight in first.weights.items()]
            finder = WordFinder(hashes_of_words)
            for index, job, picture in zip(members, jobs, pictures, strict=True):
                text = format_infotext(
                    job,
                    first.steps,
                    first.guidance,
                    first.negative,
                    Path(model.path).name,
                    used,
                    first.encoding.clip_skip,
                    base,
                    {word: hashes_of_words[word] for word in finder.list_words(f"{job.prompt} {first.negative}")},
                )
                yield index, picture, text + (f", Denoising strength: {first.strength:g}" if start is not None else "")
            if batch.size < min(batch_size, len(jobs)):  # it was halved, so the next group begins there
                batch_size = batch.size


def _load_base(requests: Sequence[DrawRequest], model: ModelSettings, device: torch.device, precision: str) -> Family:
    with explaining_no_memory("loading the base model", HIDE_GPU):
        family = load_family(model, device=device, dtype=choose_drawing_dtype(device, precision))
        if is_tight(device):
            family.rest()
    for steps in sorted({request.steps for request in requests}):
        check_steps(family, steps, "steps")
    return family


def _group(requests: Sequence[DrawRequest]) -> list[list[int]]:
    """The requests' indices, together those that one batch can hold: they differ in prompt, seed and size alone."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, request in enumerate(requests):
        common = (
            request.weight,
            request.loras,
            request.steps,
            request.guidance,
            request.negative,
            request.image,
            request.strength,
            request.encoding,
        )
        groups.setdefault(common, []).append(index)
    return list(groups.values())


def _warn_unread(family: WeightedPrompts, requests: Sequence[DrawRequest]) -> None:
    texts = {(text, request.encoding.chunks) for request in requests for text in (request.prompt, request.negative)}
    for text, chunks in sorted(texts):
        if cut := family.unread(text, chunks):
            most = chunks * family.max_tokens
            fix = "shorten it" + (", or raise --max-tokens (75, 150 or 225)" if chunks < CHUNKS else "")
            told = f"{text[:40]!r}... is longer than the {most} tokens that are read; cut off: {cut!r}"
            print(f"warning: {told}\n  fix: {fix}", file=sys.stderr, flush=True)


def _size(request: DrawRequest, model: ModelSettings) -> tuple[int, int]:
    return request.size or (model.resolution, model.resolution)


def _start(
    family: Family, request: DrawRequest, model: ModelSettings, pictures: Mapping[Path, Image.Image]
) -> tuple[torch.Tensor | None, tuple[int, int] | None]:
    """The latents to begin with, and their size in pixels."""
    if request.image is None:
        return None, None
    picture = pictures[request.image]
    if request.size:
        size = request.size
    else:
        scale = model.resolution / min(picture.size)
        step = model.bucket_step
        width, height = (max(step, round(edge * scale / step) * step) for edge in picture.size)
        size = width, height
    shades = np.asarray(ImageOps.fit(picture, size, Image.Resampling.LANCZOS), np.float32)
    pixels = torch.from_numpy(shades / 127.5 - 1).permute(2, 0, 1)[None]
    return family.encode_pictures(pixels)[0], size


def save_requests(
    requests: Sequence[DrawRequest],
    model: ModelSettings,
    out: Path,
    precision: str = "auto",
    embeddings: Mapping[Path, str | None] | None = None,
) -> list[Path]:
    """Write 0000.png, 0001.png, ... into `out` as they are drawn."""
    files = [out / f"{index:04}.png" for index in range(len(requests))]
    for index, picture, text in draw_requests(requests, model, precision=precision, embeddings=embeddings):
        save_picture(picture, files[index], text)
    return files


def save_sheet(files: Sequence[Path], rows: Sequence[str], columns: Sequence[str], title: str, path: Path) -> None:
    """One labelled grid of the pictures, row by row."""
    from lorakiln.evaluate.grids import Drawn, Grid, save_grid

    cells = [[Drawn(files[r * len(columns) + c]) for c in range(len(columns))] for r in range(len(rows))]
    save_grid(Grid("grid", title, list(rows), list(columns), cells), Path(), path)

"""The stage: from a captioned folder to one memory-mapped file of tensors per bucket."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.artefacts.tensor_files import MappedTensors, mapped_tensors, save_tensors
from lorakiln.console.counts import format_count
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import Batch, explaining_no_memory
from lorakiln.console.progress import Bar, PlainLines, show_progress
from lorakiln.encode.caption_variants import FILE, Variants, choose_variants
from lorakiln.encode.conditioning import encode_captions
from lorakiln.encode.content_keys import Keys, Row, adapt_variants, group_by_bucket, read_rows
from lorakiln.encode.latents import encode_pictures
from lorakiln.encode.masks import DTYPE as MASK_DTYPE
from lorakiln.encode.masks import encode_mask
from lorakiln.encode.tensor_cache import (
    EMPTY,
    CachedTensors,
    TensorCache,
    add_partial_rows,
    read_tensor_cache,
    write_partial_row,
)
from lorakiln.encode.variant_sheet import make_variant_sheet
from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.dataset import Dataset, DatasetFacts
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import choosing_threads
from lorakiln.families.protocol import Family, Part, choose_text_dtype
from lorakiln.families.trigger_words import find_broken_words
from lorakiln.rows import LOSS_MASK, VARIANT_SHEET, EncodedBucket, EncodedRow, Index
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings

SOMEWHERE = (1, 1, 0, 0, 1, 1)  # a place, to see what a family tells of one
ADVICE = "a lower prepare.resolution, or encode.device=cpu"
LISTED = 20  # of the captions that are too long


def encode(captioned: Path, out: Path, settings: EncodeSettings, model: ModelSettings) -> None:
    """Encode pictures and captions; whatever `out` holds under the same content key is copied, not made again, and so
    is what a call had made when it was stopped, whatever stopped it.

    Writes <WxH>.safetensors per bucket with latent_mean and latent_std, (N, V, C, h, w) for N pictures in V variants,
    scaled as the network sees them, the captions' conditioning, (N, ...), and what tells where a picture was taken, (N,
    ...) or with several variants (N, V, ...); where pictures of the bucket have masks, loss_mask, (N, V, h, w) in
    [0, 1], what of each cell is to be learned; empty.safetensors with the empty caption's; captions.safetensors with
    those of all texts that captions are drawn from, (T, ...), where they are embedded ahead; index.json; and, where
    variants are drawn, variants.png, a sheet of them.

    Raises:
        UserError: the folder or the model is not usable, or latents are not finite.
    """
    device = choose_device(settings.device)
    bare, half = load_family(model, ()), choose_text_dtype(device)
    facts, beside = bare.facts, frozenset((*bare.place_conditioning(SOMEWHERE), LOSS_MASK))
    text = {"text": str(half)} if half else {}
    code = compute_code_key(encode_pictures, encode_captions, encode_mask, mapped_tensors, type(bare))
    given, settings = settings, adapt_variants(captioned, settings)
    keys = Keys({"code": code, "base": facts["hash"], **text}, settings, device.type, given.flip, given.augment)
    encoding = keys.encoding
    rows = read_rows(captioned, keys)
    kept = PartialResults(out, ".safetensors")
    with replacing(out) as fresh:
        known = read_tensor_cache(out, keys.caption(""), beside)
        add_partial_rows(known, kept)
        new = any(row.key_picture not in known.pictures for row in rows)
        parts: tuple[Part, ...] = ("vae", "text") if new else ("text",)
        with explaining_no_memory("encode: loading the base model", ADVICE):
            family = load_family(model, parts, device, text_dtype=half)
        unread = {row.file_name: family.unread(row.text, encoding.chunks) for row in rows}
        told = {
            row.file_name: {name: value.tolist() for name, value in _tell_places(family, row).items()} for row in rows
        }
        dataset = Dataset.read(captioned / "dataset.json")
        broken = find_broken_words(family, dataset.trigger)
        _warn_unread(family, rows, unread, encoding.chunks * family.max_tokens)
        drawn = choose_variants(rows, settings.captions)
        stage = _Stage(fresh, settings, keys, family, known, kept)
        with choosing_threads(family):
            stage.run(group_by_bucket(rows), drawn.texts if drawn else ())
        made_with = {"encode": given.model_dump(mode="json"), "model": model.model_dump(mode="json")}
        if settings.augment.variants:
            make_variant_sheet(rows, settings.flip).save(fresh / VARIANT_SHEET)
        _index(dataset, rows, unread, told, keys, facts, made_with, drawn, broken).write(fresh / "index.json")
    kept.clear()


class _Stage:
    """One run of the stage."""

    def __init__(
        self,
        fresh: Path,
        settings: EncodeSettings,
        keys: Keys,
        family: Family,
        known: TensorCache,
        kept: PartialResults,
    ) -> None:
        self.fresh, self.settings = fresh, settings
        self.keys, self.family, self.known, self.kept = keys, family, known, kept
        self.dtype = getattr(torch, settings.dtype)
        self.at_once = Batch(settings.batch_size, "encoding", "encode.batch_size", ADVICE)

    def run(self, buckets: Mapping[tuple[int, int], Sequence[Row]], drawn: Sequence[str]) -> None:
        """Write all tensors.

        Args:
            drawn: texts that are embedded beside the pictures' own.
        """
        rows = [row for bucket in buckets.values() for row in bucket]
        pictures = {row.key_picture for row in rows if row.key_picture not in self.known.pictures}
        keys = {row.key_caption for row in rows} | {self.keys.caption(text) for text in drawn}
        captions = {key for key in keys if key not in self.known.captions}
        variants = (
            f", {format_count(len(self.keys.variants), 'variant')} of each" if self.settings.augment.variants else ""
        )
        print(
            f"encode: {format_count(len(rows), 'picture')} in {format_count(len(buckets), 'bucket')}{variants}; "
            f"new: {format_count(len(pictures), 'picture')}, {format_count(len(captions), 'caption')}; "
            f"on {describe_device(self.family.device)}",
            flush=True,
        )
        empty = self._empty()
        layouts = {size: self._layout(size, bucket, empty) for size, bucket in buckets.items()}
        of_texts = self._layout_of_texts(len(drawn), empty) if drawn else {}
        # What is new is beside the output until that is whole.
        needed = sum(map(_bytes, (*layouts.values(), of_texts))) * (2 if pictures or captions else 1)
        check_space(self.fresh, needed, "the encoded pictures and captions")
        save_tensors(self.fresh / EMPTY, empty)
        with show_progress("encode", len(pictures) + len(captions), "pictures and captions") as bar:
            for size, bucket in buckets.items():
                with mapped_tensors(self.fresh / _file(size), layouts[size]) as tensors:
                    self._pictures(bucket, size, tensors, bar)
                    self._captions(bucket, tensors, bar)
                    self._places(bucket, tensors)
                    self._masks(bucket, size, tensors)
            if drawn:
                with mapped_tensors(self.fresh / FILE, of_texts) as tensors:
                    self._texts([(self.keys.caption(text), text) for text in drawn], tensors, bar)

    def _empty(self) -> dict[str, Tensor]:
        """The empty caption's conditioning, (1, ...)."""
        key = self.keys.caption("")
        if key not in self.known.captions:
            made = next(encode_captions(self.family, [""], self.keys.encoding, self.at_once, self.dtype))
            self.known.captions.put(key, {name: value[None] for name, value in made.items()}, 0)
        return {name: value[None] for name, value in self.known.captions[key].items()}

    def _layout(self, size: tuple[int, int], rows: Sequence[Row], empty: Mapping[str, Tensor]) -> dict[str, Any]:
        count = len(rows)
        latents = (count, len(self.keys.variants), *self.family.latent_shape(*size))
        conditioning = self._layout_of_texts(count, empty)
        place = self.family.place_conditioning(SOMEWHERE)
        lead = latents[: 2 if len(self.keys.variants) > 1 else 1]
        told = {name: (value.dtype, (*lead, *value.shape)) for name, value in place.items()}
        masked = any(row.key_mask for row in rows)
        mask = {LOSS_MASK: (MASK_DTYPE, (*latents[:2], *latents[3:]))} if masked else {}
        return {"latent_mean": (self.dtype, latents), "latent_std": (self.dtype, latents)} | conditioning | told | mask

    def _layout_of_texts(self, count: int, empty: Mapping[str, Tensor]) -> dict[str, Any]:
        return {name: (self.dtype, (count, *value.shape[1:])) for name, value in empty.items()}

    def _pictures(
        self, rows: Sequence[Row], size: tuple[int, int], tensors: MappedTensors, bar: PlainLines | Bar
    ) -> None:
        cached = self.known.pictures
        new = {row.key_picture: row.viewed for row in rows if row.key_picture not in cached}
        made = encode_pictures(
            self.family, list(new.values()), size, self.settings.flip, self.at_once, self.dtype, bar.advance
        )
        _fill(tensors, [row.key_picture for row in rows], cached, made, self.kept)

    def _captions(self, rows: Sequence[Row], tensors: MappedTensors, bar: PlainLines | Bar) -> None:
        self._texts([(row.key_caption, row.text) for row in rows], tensors, bar)

    def _texts(self, told: Sequence[tuple[str, str]], tensors: MappedTensors, bar: PlainLines | Bar) -> None:
        """Texts, each behind its key, in the order of the tensors' rows."""
        cached = self.known.captions
        new = {key: text for key, text in told if key not in cached}
        made = encode_captions(
            self.family, list(new.values()), self.keys.encoding, self.at_once, self.dtype, bar.advance
        )
        _fill(tensors, [key for key, _ in told], cached, made, self.kept)

    def _places(self, rows: Sequence[Row], tensors: MappedTensors) -> None:
        for number, row in enumerate(rows):
            tensors.write_row(number, _tell_places(self.family, row))

    def _masks(self, rows: Sequence[Row], size: tuple[int, int], tensors: MappedTensors) -> None:
        if LOSS_MASK in tensors:
            _, height, width = self.family.latent_shape(*size)
            for number, row in enumerate(rows):
                mask = encode_mask(row.viewed, size, (height, width), self.settings.flip)
                tensors.write_row(number, {LOSS_MASK: mask})


def _tell_places(family: Family, row: Row) -> dict[str, Tensor]:
    """What the network is told of where a picture was taken; of several variants (V, ...)."""
    told = [family.place_conditioning(place) for place in row.places]
    if len(told) == 1:
        return told[0]
    return {name: torch.stack([one[name] for one in told]) for name in told[0]}


def _fill(
    tensors: MappedTensors,
    keys: Sequence[str],
    cached: CachedTensors,
    made: Iterator[dict[str, Tensor]],
    kept: PartialResults,
) -> None:
    """Row by row: what is on the shelf is copied; the next of `made` is taken for what is not, and kept."""
    for number, key in enumerate(keys):
        if key in cached:
            values = cached[key]
        else:
            values = next(made)
            write_partial_row(kept, key, values)
        tensors.write_row(number, values)
        cached.put(key, tensors, number)


def _file(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}.safetensors"


def _bytes(layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> int:
    return sum(math.prod(shape) * dtype.itemsize for dtype, shape in layout.values())


def _index(
    dataset: Dataset,
    rows: Sequence[Row],
    unread: Mapping[str, str],
    told: Mapping[str, Mapping[str, list]],
    keys: Keys,
    facts: dict[str, str],
    made_with: dict[str, Any],
    drawn: Variants | None,
    broken: dict[str, list[str]],
) -> Index:
    def entry(row: Row) -> EncodedRow:
        names = ("file_name", "text", "sha256", "twin", "caption_source", "key_picture", "key_caption")
        same = {name: getattr(row, name) for name in names}
        more = {**row.training, **(drawn.tell(row) if drawn else {})}
        return EncodedRow(**same, unread=unread[row.file_name], **more)

    buckets = [
        EncodedBucket(name=f"{size[0]}x{size[1]}", file=_file(size), rows=[entry(row) for row in bucket])
        for size, bucket in group_by_bucket(list(rows)).items()
    ]
    content = [
        [
            row.file_name,
            row.key_picture,
            row.key_caption,
            *([told[row.file_name]] if told[row.file_name] else []),
            *([row.training] if row.training else []),
        ]
        for row in rows
    ]
    texts = [keys.caption(text) for text in drawn.texts] if drawn else []
    of_draws = [[drawn.identity, texts, [drawn.tell(row) for row in rows]]] if drawn else []
    identity = hash_data(keys.caption(""), content, *of_draws)
    captions = {"captions": drawn.describe(texts)} if drawn else {}
    by_variant = sorted(told[rows[0].file_name]) if len(keys.variants) > 1 else []
    return Index(
        dataset=DatasetFacts(
            name=dataset.name,
            hash=dataset.hash,
            pictures=len(rows),
            trigger=dataset.trigger,
            out_of_domain=dataset.out_of_domain,
        ),
        base=BaseFacts(**facts),
        variants=list(keys.variants),
        buckets=buckets,
        **captions,
        **({"by_variant": by_variant} if by_variant else {}),
        **({"trigger_pieces": broken} if broken else {}),
        empty=keys.caption(""),
        hash=identity,
        settings={**dataset.settings, **made_with},
    )


def _warn_unread(family: Family, rows: Sequence[Row], unread: Mapping[str, str], most: int) -> None:
    """Say which captions are longer than what the model reads, and what of them is lost."""
    long = [row for row in rows if unread[row.file_name]]
    if not long:
        return
    lines = [
        f"  {row.file_name}: {format_count(family.count_tokens(row.text), 'token')}, cut: {unread[row.file_name]!r}"
        for row in long[:LISTED]
    ]
    if len(long) > LISTED:
        lines.append(f"  and {len(long) - LISTED} more: see `unread` in index.json")
    title = f"warning: captions longer than the {most} tokens that are read: {len(long)} (see encode.max_tokens)"
    print("\n".join([title, *lines]), file=sys.stderr, flush=True)

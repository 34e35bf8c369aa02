"""A run put together: data, base model, adapter and training module, checked against each other."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from lorakiln.adapters.adapter import Embedding
from lorakiln.adapters.networks import Placement
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.console.errors import UserError
from lorakiln.console.memory import explaining_no_memory
from lorakiln.diffusion.loss import check_objective
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import is_small
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import NETWORK, TEXT, Family, Part, choose_text_dtype
from lorakiln.families.tensor_memory import count_held_bytes
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapter_placement import inject_adapters, list_encoders, list_placements
from lorakiln.train.attention import check_attention
from lorakiln.train.caption_draws import CachedTextEmbeddings, DrawnTexts, is_live
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.learned_tokens import check_tokens, insert_tokens, read_initial_embeddings
from lorakiln.train.length import count_epoch, count_steps
from lorakiln.train.live_text import LiveText, TextReader
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.memory_count import CountRequest, MemoryCount, count_memory
from lorakiln.train.memory_fit import MemoryFit, check_memory_fit
from lorakiln.train.quantized_layers import check_quantize, quantize_layers
from lorakiln.train.sample_pictures import Sample, check_samples, choose_largest, choose_requests, list_samples
from lorakiln.train.share import Share
from lorakiln.train.small_buckets import check_small_buckets
from lorakiln.train.trained_encoders import recompute_activations
from lorakiln.train.validation_split import ValidationSplit, hold_out


@dataclass(frozen=True)
class TrainingRun:
    """What is trained, on what.

    Attributes:
        settings: their length counted in steps.
        asked: as they were given.
        placements: what is trained, by part: full names of the adapted modules, and the settings of the adapter there.
        device: of this process.
        samples: the pictures of a round, where this process draws.
        memory_fit: what was counted; None for what fits any machine.
        begun: the words that begin with the vectors of `train.adapter.init_from`.
    """

    settings: TrainSettings
    asked: TrainSettings
    model: ModelSettings
    encoded: EncodedDataset
    family: Family
    split: ValidationSplit
    placements: dict[str, Placement]
    module: LoraModule
    device: torch.device
    samples: list[Sample]
    memory_fit: MemoryFit | None = None
    begun: tuple[str, ...] = ()

    @property
    def targets(self) -> list[str]:
        """Full names of the denoiser's adapted modules; none where it is not trained."""
        return self.placements[self.family.part].modules if self.family.part in self.placements else []

    @property
    def share(self) -> Share:
        return self.module.share

    @property
    def precision(self) -> str:
        """Of the frozen base, as it is on this process's device: "bf16", "fp16" or "fp32"."""
        return self.share.precision

    @property
    def epoch(self) -> Fraction:
        """Optimizer steps of an epoch."""
        return count_epoch(self.settings, self.split)

    @property
    def leads(self) -> bool:
        """Whether this process validates, draws, saves and logs."""
        return self.share.rank == 0

    @property
    def lineage(self) -> dict[str, object]:
        """The settings of this stage and of all before it, by stage."""
        return {**self.encoded.index.settings, "train": self.asked.model_dump(mode="json")}


def assemble(
    folder: Path, asked: TrainSettings, model: ModelSettings, share: Share, device: torch.device
) -> TrainingRun:
    """Load everything and put the adapter on.

    Raises:
        UserError: the pictures were encoded with another base, settings do not suit the model or the number of
            pictures, or the device has no memory for it.
    """
    check_quantize(asked.trainer.quantize)
    encoded = EncodedDataset.read(folder)
    split = hold_out(encoded.buckets, asked.validation)
    settings = count_steps(asked, split)
    _check_measured(settings, split)
    _check_batches(settings, split)
    levels = encoded.index.made_with("prepare", PrepareSettings).findings
    check_small_buckets([bucket.name for bucket in encoded.buckets], split, settings.batch_size, levels)
    draws = bool(settings.samples.every) and share.rank == 0
    encoders = list_encoders(model.family, settings)
    # Texts are read in every step where encoders or words are trained, or where captions are drawn anew.
    learns = bool(encoders or settings.tokens)
    reads = learns or is_live(encoded)
    parts: tuple[Part, ...] = ("vae", "text", "network") if draws else (*TEXT, *NETWORK) if reads else NETWORK
    # Encoders that are trained compute as the network does.
    text_dtype = share.half if learns else choose_text_dtype(device)
    loading: dict[str, Any] = {"device": device, "dtype": share.half, "text_dtype": text_dtype}
    bare = load_family(model, (), **loading)
    _check_base(encoded, bare, model)
    check_objective(bare.process, settings.objective)
    _check_rows(encoded, settings.objective)
    check_tokens(settings.tokens, encoded, split)
    begun = read_initial_embeddings(settings)
    if settings.objective.zero_terminal_snr:
        bare.process = bare.process.rescale_to_zero_snr()
    requests = choose_requests(encoded, settings.samples, split.trained) if draws else []
    samples = list_samples(requests, settings.samples, model.resolution)
    check_samples(samples, bare, hasattr(find_trained_kind(settings.adapter.kind), "at_weight"))
    check_attention(settings.trainer.attention, bare, share.half or torch.float32)
    memory_fit = _make_room(bare, encoded, split, settings, share, samples)
    if memory_fit and share.rank == 0 and (warning := memory_fit.warning()):
        print(warning, file=sys.stderr, flush=True)
    with explaining_no_memory(f"loading the base model, on {device}", memory_fit.advice if memory_fit else ""):
        family = _load(model, parts, loading, settings.trainer.quantize)
        family.process = bare.process
        family.rest(TEXT if reads else ())
        placements = _adapt(family, settings, begun)
        module = LoraModule(
            family,
            encoded.to_device(device, bool(memory_fit and memory_fit.memory.dataset)),
            split.trained,
            settings,
            share,
            _choose_reader(family, encoded, learns),
            DrawnTexts(encoded, split.trained, settings.seed) if encoded.index.captions else None,
        )
    return TrainingRun(
        settings, asked, model, encoded, family, split, placements, module, device, samples, memory_fit, tuple(begun)
    )


def _adapt(family: Family, settings: TrainSettings, begun: Mapping[str, Embedding]) -> dict[str, Placement]:
    """Make the loaded base ready to be trained, in place: its memory layout, checkpointing, the adapters, the words."""
    # The layout that convolutions on GPUs are written for: not measured here on one; a CPU loses nothing.
    network: Any = family.network  # diffusers' own methods, and torch's untyped keyword
    network.to(memory_format=torch.channels_last)
    if settings.trainer.gradient_checkpointing:
        network.enable_gradient_checkpointing()
        for part in list_encoders(family.name, settings):
            recompute_activations(family.adaptable()[part])
    placements = list_placements(family, settings)
    if placements:
        inject_adapters(family, placements, settings.seed, settings.tokens)
    insert_tokens(family, settings.tokens, settings.seed, begun)
    return placements


def _choose_reader(family: Family, encoded: EncodedDataset, trained: bool) -> TextReader | None:
    """What gives the embeddings of texts; None where each picture's own are all that there is."""
    if trained or is_live(encoded):
        return LiveText.of(family, encoded.index.made_with("encode", EncodeSettings), trained)
    return CachedTextEmbeddings(encoded) if encoded.index.captions else None


def _load(model: ModelSettings, parts: Sequence[Part], loading: Mapping[str, Any], quantize: str) -> Family:
    if quantize == "none":
        return load_family(model, parts, **loading)
    # Its layers come onto the device one by one, which so never holds the whole network.
    family = load_family(model, [part for part in parts if part not in NETWORK], **loading)
    network = load_family(model, NETWORK, **{**loading, "device": None}).network
    quantize_layers(network, quantize, family.device)
    family.network = network.to(family.device)
    return family


def _make_room(
    family: Family,
    encoded: EncodedDataset,
    split: ValidationSplit,
    settings: TrainSettings,
    share: Share,
    samples: list[Sample],
) -> MemoryFit | None:
    """What it takes and what there is, counted with the family's parts not yet loaded; None for a small base on a CPU,
    and where it could not be counted.

    Args:
        samples: that are drawn; none where there is none.
    """
    if family.device.type == "cpu" and is_small(family):
        return None
    shapes = [bucket.mean.shape[2:] for bucket, rows in zip(encoded.buckets, split.trained, strict=True) if rows]
    wanted = CountRequest(
        family,
        settings,
        share,
        max(shapes, key=math.prod),
        encoded.buckets[0].condition_plain(0),
        drawn=family.latent_shape(*choose_largest(samples)) if samples else None,
        guided=any(one.guidance > 1 for one in samples),
        validates=bool(settings.validation.every and split.held_out_count) and share.rank == 0,
        encoding=PromptEncoding.of(encoded.index.made_with("encode", EncodeSettings)),
    )
    # The largest batch takes most.
    settings = settings.model_copy(update={"batch_size": max(split.list_batches(settings.batch_size))})
    wanted = replace(wanted, settings=settings)
    # Text encoders that read in every step stay on the device beside the network; those that learn are counted.
    texts = family.hollow(TEXT).adaptable().values() if is_live(encoded) and not wanted.reads_anew else ()
    reading = sum(map(count_held_bytes, texts))

    def count(other: TrainSettings) -> MemoryCount:
        memory = count_memory(replace(wanted, settings=other))
        return replace(memory, base=memory.base + reading)

    try:
        return check_memory_fit(count, settings, share, family.device, encoded.nbytes)
    except (NotImplementedError, RuntimeError) as error:
        # An operation that torch cannot do without numbers: it trains nevertheless.
        why = str(error).partition("\n")[0]
        print(f"warning: the memory that this takes could not be counted: {why}", file=sys.stderr, flush=True)
        return None


def _check_rows(encoded: EncodedDataset, objective: ObjectiveSettings) -> None:
    """Refuse what is said of masks and of regularisation pictures where there are none."""
    masked = any(bucket.mask is not None for bucket in encoded.buckets)
    regularises = any(row.is_reg for bucket in encoded.buckets for row in bucket.rows)
    for name, there, absent, source in (
        ("unmasked_weight", masked, "has a mask", "give pictures masks (docs/datasets.md)"),
        (
            "prior_loss_weight",
            regularises,
            "is one for regularisation",
            "add some, reg/1_class beside N_class folders (docs/datasets.md)",
        ),
    ):
        if getattr(objective, name) != 1 and not there:
            raise UserError(
                f"{getattr(objective, name):g} has no meaning here: no picture of the dataset {absent}",
                where=f"train.objective.{name}",
                fix=f"set train.objective.{name}=1.0, or {source}",
            )


def _check_batches(settings: TrainSettings, split: ValidationSplit) -> None:
    """Refuse a dataset's own batch that cannot be shared by the devices."""
    world = settings.trainer.devices * settings.trainer.num_nodes
    if wrong := [batch for batch in split.list_batches(settings.batch_size) if batch % world]:
        raise UserError(
            f"a dataset has batches of {wrong[0]} pictures, which {world} devices cannot share alike",
            where="batch_size of the dataset's config",
            fix=f"write a multiple of {world} there, or lower train.trainer.devices",
        )


def _check_measured(settings: TrainSettings, split: ValidationSplit) -> None:
    if settings.keeps_best and not split.held_out_count:
        name = "train.keep_best" if settings.keep_best else "train.early_stopping.patience"
        raise UserError(
            f"it goes by the validation loss, and of {split.picture_count} pictures none is held out to measure it",
            where=name,
            fix="raise train.validation.fraction, or add pictures",
        )


def _check_base(encoded: EncodedDataset, family: Family, model: ModelSettings) -> None:
    before = encoded.index.base
    if before.hash != family.facts["hash"]:
        raise UserError(
            f"the pictures were encoded with {before.path}, which is not {model.path} as it is now",
            fix="run the stage `encode` again",
        )

"""The metadata of a kohya LoRA file: what sd-scripts writes and A1111 shows, with true values.

Keys and spellings are those of sd-scripts' train_network.py (ss_*), of the Stability AI model metadata standard
1.0.1 (modelspec.*) and of sd-scripts' hashes (sshs_*). Every value is a string. Nothing here holds a host, nor a time
unless asked for, so that equal runs give equal files; those are in the run's provenance.json.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln import __version__
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.tensor_files import generate_chunks
from lorakiln.console.errors import UserError
from lorakiln.diffusion.losses import find_loss
from lorakiln.facts.run import RunFacts
from lorakiln.families.kinds import find_version
from lorakiln.families.prompt_encoding import CHUNK
from lorakiln.lora_files.kohya_captions import tell_rules, tell_subset_rules
from lorakiln.lora_files.subsets import Subset, count_shown, group_by_size, list_subsets
from lorakiln.lora_files.training_facts import read_timesteps
from lorakiln.optim import kohya_name
from lorakiln.rows import CaptionedRow
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.optimizers import OptimizerSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings

ZERO_SNR = "ss_zero_terminal_snr"
TRIGGER = "modelspec.trigger_phrase"
# Our words in sd-scripts', and in the model standard's.
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


def build_metadata(
    facts: RunFacts,
    rows: Sequence[CaptionedRow],
    name: str,
    private: bool,
    times: tuple[datetime, datetime] | None = None,
) -> dict[str, str]:
    """The ss_*, modelspec.* and lorakiln_* keys; the hashes come with `add_hashes`.

    Args:
        facts: the run's; `convolutions` is for export to find.
        rows: the captioned pictures. Folders, buckets and tags are counted over all of them;
            ss_num_train_images leaves out those held out for validation.
        private: leave out folder names and captions.
        times: when the training began and ended, to be told.

    Raises:
        UserError: there is no word for the base's version or prediction, or for the precision; told before the
            training, by `train.results.check_kohya_metadata`.
    """
    train, base = facts.made_with("train", TrainSettings), facts.base
    encode, prepare = facts.made_with("encode", EncodeSettings), facts.made_with("prepare", PrepareSettings)
    data: dict[str, Any] = {
        **_training(facts, rows),
        "ss_output_name": name,
        "ss_base_model_version": base.version,
        "ss_sd_model_name": Path(base.path).name,
        "ss_v2": find_version(base.version).is_v2,
        **find_trained_kind(train.adapter.kind).metadata(facts, train.adapter),
        "ss_clip_skip": encode.clip_skip,
        "ss_max_token_length": encode.max_tokens if encode.max_tokens > CHUNK else None,
        **_sizes(prepare, rows),
        "lorakiln_version": __version__,
        "lorakiln_dataset_hash": facts.dataset.hash,
        "lorakiln_base_hash": base.hash,
        "lorakiln_step": facts.step,
        **_modelspec(facts, name),
    }
    if facts.libraries:  # runs of before did not say
        data["lorakiln_libraries"] = facts.libraries
    if facts.strength != 1:
        # The network's alpha is that of the file: the trained one, in the settings, times this.
        data["lorakiln_strength"] = facts.strength
    if facts.averaged:
        data["lorakiln_ema_decay"] = train.ema.decay
    data["ss_datasets"] = _datasets(facts, rows, data, private)
    if not private:
        folders = list_subsets(facts, rows)
        dirs = {one.folder: {"n_repeats": one.repeats, "img_count": len(one.rows)} for one in folders if not one.is_reg}
        data["ss_dataset_dirs"] = dirs
        data["ss_tag_frequency"] = {one.folder: _tags(one.rows) for one in folders if not one.is_reg}
        if regularising := {
            one.folder: {"n_repeats": one.repeats, "img_count": len(one.rows)} for one in folders if one.is_reg
        }:
            data["ss_reg_dataset_dirs"] = regularising
        # Where a run was tracked did not make the LoRA, and names people.
        untracked = {key: value for key, value in facts.settings["train"].items() if key != "tracker"}
        data["lorakiln_settings"] = {**facts.settings, "train": untracked}
    if times:
        began, ended = times
        data["ss_training_started_at"], data["ss_training_finished_at"] = began.timestamp(), ended.timestamp()
        data["modelspec.date"] = ended.isoformat(timespec="seconds")
    return {key: _spell(value) for key, value in data.items()}


def add_hashes(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Add sshs_model_hash, sshs_legacy_hash and modelspec.hash_sha256, which are taken over the file's bytes.

    sd-scripts hashes the file as it would be with the ss_* keys alone: sshs_model_hash is the SHA-256 of what follows
    the header, sshs_legacy_hash the first 8 hex digits of that of bytes 0x100000 to 0x110000 of the whole file.
    """
    body, legacy, at = hashlib.sha256(), hashlib.sha256(), 0
    for chunk in generate_chunks(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")}):
        if at:
            body.update(chunk)
        legacy.update(chunk[max(0, 0x100000 - at) : max(0, 0x110000 - at)])
        at += len(chunk)
    digest = body.hexdigest()
    hashes = {
        "sshs_model_hash": digest,
        "sshs_legacy_hash": legacy.hexdigest()[:8],
        "modelspec.hash_sha256": f"0x{digest}",
    }
    return {**metadata, **hashes}


def _training(facts: RunFacts, rows: Sequence[CaptionedRow]) -> dict[str, Any]:
    train, held_out = facts.made_with("train", TrainSettings), facts.held_out
    pictures, regularising = count_shown(facts, rows)
    seen = pictures + regularising
    epoch = Fraction(seen, train.batch_size)
    if facts.epoch_steps and any(row.rules.batch_size for row in rows):
        epoch = Fraction(facts.epoch_steps).limit_denominator(10_000)  # the fraction of which the number is the nearest
    total = facts.max_steps or train.total_steps
    share = train.batch_size // (train.trainer.devices * train.trainer.num_nodes)
    micro = train.micro_batch or share
    optimizer, objective = train.optimizer, train.objective
    return {
        "ss_learning_rate": optimizer.lr,
        "ss_unet_lr": _denoisers_rate(facts, optimizer),
        "ss_text_encoder_lr": _one_or_all([one.lr for one in facts.encoders.values()]),
        "ss_num_train_images": pictures,
        "ss_num_validation_images": held_out,
        "ss_num_reg_images": regularising,
        "ss_num_batches_per_epoch": max(1, math.ceil(epoch)),
        # By what was seen: the batches of an epoch are whole numbers in sd-scripts, where each epoch begins one.
        "ss_num_epochs": math.ceil(total / epoch),
        "ss_epoch": math.floor(facts.step / epoch),
        "ss_steps": facts.step,
        "ss_max_train_steps": total,
        "ss_batch_size_per_device": micro,
        "ss_total_batch_size": train.batch_size,
        "ss_gradient_checkpointing": train.trainer.gradient_checkpointing,
        "ss_gradient_accumulation_steps": share // micro,
        "ss_lr_scheduler": train.scheduler.kind,
        "ss_lr_warmup_steps": train.scheduler.count_warmup(total),
        "ss_optimizer": kohya_name(optimizer),
        "ss_max_grad_norm": train.max_grad_norm or 0.0,
        "ss_mixed_precision": _word(PRECISIONS, facts.precision or train.trainer.precision, "train.trainer.precision"),
        "ss_seed": train.seed,
        "ss_cache_latents": True,
        "ss_noise_offset": objective.noise_offset or None,
        "ss_min_snr_gamma": objective.min_snr_gamma,
        **({"ss_fp8_base_unet": True} if train.trainer.quantize == "fp8" else {}),
        **{"ss_huber_c": None, **find_loss(objective.kind).make_kohya_metadata(objective)},
        "ss_caption_dropout_rate": objective.caption_dropout,
        **tell_rules(facts, objective),
        "ss_prior_loss_weight": objective.prior_loss_weight,
        **_noise(facts, objective),
    }


def _denoisers_rate(facts: RunFacts, optimizer: OptimizerSettings) -> Any:
    """One number where there is one, as sd-scripts has it; else which part has which; None: it was not trained."""
    parts = {part: rate for part, rate in optimizer.part_lrs.items() if part.partition(".")[0] not in facts.encoders}
    if facts.encoders and not facts.targets:
        return None
    return {"": optimizer.lr, **parts} if parts else optimizer.lr


def _one_or_all(rates: Sequence[float]) -> Any:
    """A number where all are one, a list where they differ, as one gives them to sd-scripts; None: there are none."""
    return (rates[0] if len(set(rates)) == 1 else list(rates)) if rates else None


def _noise(facts: RunFacts, objective: ObjectiveSettings) -> dict[str, Any]:
    """What sd-scripts says of weights and noise; of what is not used nothing, which readers take for its "None"."""
    told: dict[str, Any] = {
        "ss_debiased_estimation": objective.debiased_estimation,
        "ss_noise_offset_random_strength": objective.noise_offset_random,
        "ss_multires_noise_iterations": objective.multires_noise_iterations,
        "ss_multires_noise_discount": objective.multires_noise_iterations and objective.multires_noise_discount,
        "ss_ip_noise_gamma": objective.ip_noise_gamma,
        "ss_ip_noise_gamma_random_strength": objective.ip_noise_gamma_random,
        ZERO_SNR: facts.zero_terminal_snr,
    }
    return {key: value for key, value in told.items() if value}


def is_zero_terminal_snr(metadata: Mapping[str, str]) -> bool:
    """Whether a LoRA file says that it was trained with a noise schedule that ends without signal."""
    return metadata.get(ZERO_SNR) == "True"


def _datasets(
    facts: RunFacts, rows: Sequence[CaptionedRow], told: Mapping[str, Any], private: bool
) -> list[dict[str, Any]]:
    """The datasets as sd-scripts tells those that a file describes (--dataset_config): one for each size, in it each
    folder a subset.

    Args:
        told: the keys that say the same of the whole training.
    """
    prepare, groups = facts.made_with("prepare", PrepareSettings), group_by_size(list_subsets(facts, rows))
    found = []
    for size, folders in groups:
        own = [row for one in folders for row in one.rows]
        shown = told["ss_num_train_images"], told["ss_num_reg_images"]
        if len(groups) > 1:
            shown = count_shown(facts, own, rows)
        given = prepare.resolution if size.resolution is None else size.resolution
        bucket = {**prepare.bucket.model_dump(), **size.bucket}
        found.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": _find_own_batch(facts, own) or told["ss_batch_size_per_device"],
                "num_train_images": shown[0],
                "num_reg_images": shown[1],
                "resolution": [given, given] if isinstance(given, int) else given,
                "enable_bucket": bucket["enable"],
                "min_bucket_reso": bucket["min"],
                "max_bucket_reso": bucket["max"],
                "tag_frequency": {} if private else {one.folder: _tags(one.rows) for one in folders if not one.is_reg},
                "bucket_info": _buckets(own),
                "subsets": [_subset(facts, one, private) for one in folders],
            }
        )
    return found


def _subset(facts: RunFacts, subset: Subset, private: bool) -> dict[str, Any]:
    return {
        "img_count": len(subset.rows),
        "num_repeats": subset.repeats,
        **tell_subset_rules(facts, subset.rules, subset.pictures, private),
        "image_dir": None if private else subset.folder if subset.class_tokens else facts.dataset.name,
        "class_tokens": ("" if private else subset.class_tokens) or facts.trigger or None,
        "is_reg": subset.is_reg,
    }


def _modelspec(facts: RunFacts, name: str) -> dict[str, Any]:
    side, version = facts.made_with("prepare", PrepareSettings).resolution, find_version(facts.base.version)
    spec = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{version.modelspec}/lora",
        "modelspec.implementation": version.implementation,
        "modelspec.title": name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": to_modelspec_prediction(facts.base.prediction_type),
        "modelspec.encoder_layer": facts.made_with("encode", EncodeSettings).clip_skip,
    }
    low, high, total = read_timesteps(facts)
    if (low, high) != (0, total):
        spec["modelspec.timestep_range"] = f"{low},{high}"
    if facts.trigger:
        spec[TRIGGER] = facts.trigger
    return spec


def _find_own_batch(facts: RunFacts, rows: Sequence[CaptionedRow]) -> int | None:
    """What a device takes of a batch of these pictures, where their dataset has its own; None: the training's."""
    trainer = facts.made_with("train", TrainSettings).trainer
    (first, *more) = {row.rules.batch_size for row in rows} or {None}
    return None if more or first is None else first // (trainer.devices * trainer.num_nodes)


def _sizes(prepare: PrepareSettings, rows: Sequence[CaptionedRow]) -> dict[str, Any]:
    side, bucket = prepare.resolution, prepare.bucket
    return {
        "ss_resolution": f"({side}, {side})",
        "ss_bucket_info": _buckets(rows),
        "ss_enable_bucket": bucket.enable,
        "ss_min_bucket_reso": bucket.min,
        "ss_max_bucket_reso": bucket.max,
        "ss_bucket_no_upscale": bucket.no_upscale,
    }


def _buckets(rows: Sequence[CaptionedRow]) -> dict[str, Any]:
    counts = Counter((row.width, row.height) for row in rows)
    errors = [abs(row.source_width / row.source_height - row.width / row.height) for row in rows]
    buckets = {
        str(index): {"resolution": list(size), "count": count}
        for index, (size, count) in enumerate(sorted(counts.items()))
    }
    return {"buckets": buckets, "mean_img_ar_error": round(sum(errors) / max(1, len(errors)), 6)}


def _tags(rows: Sequence[CaptionedRow]) -> dict[str, int]:
    tags = Counter(tag.strip().lower() for row in rows for tag in row.text.split(",") if tag.strip())
    return dict(sorted(tags.items()))


def to_modelspec_prediction(prediction: str) -> str:
    """What modelspec.prediction_type says."""
    return _word(PREDICTIONS, prediction, "model.prediction_type")


def _word(words: Mapping[str, str], name: str, where: str) -> str:
    """What another program calls it.

    Raises:
        UserError: there is no word for it.
    """
    if name not in words:
        fix = f"there are words for {', '.join(words)}"
        raise UserError(f"no LoRA file can tell of {name!r}: there is no word for it", where=where, fix=fix)
    return words[name]


def _spell(value: Any) -> str:
    """As sd-scripts does: JSON for what is nested, str() for the rest."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else str(value)

"""A run put together: data, base model, adapter and training module, checked against each other."""

from dataclasses import dataclass
from pathlib import Path

import torch

from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.family import Family, half_on_gpu
from lorakiln.sampling import check_steps
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapting import put_adapter, target_names
from lorakiln.train.latents import Encoded
from lorakiln.train.module import Kiln, Share
from lorakiln.train.split import Split, hold_out


@dataclass(frozen=True)
class Run:
    """What is trained, on what.

    Attributes:
        targets: full names of the network's adapted modules.
        device: of this process.
    """

    settings: TrainSettings
    model: ModelSettings
    encoded: Encoded
    family: Family
    split: Split
    targets: list[str]
    kiln: Kiln
    device: torch.device

    @property
    def share(self) -> Share:
        return self.kiln.share

    @property
    def precision(self) -> str:
        """Of the frozen base, as it is on this process's device: "bf16" or "fp32"."""
        return "bf16" if self.share.bf16 else "fp32"

    @property
    def leads(self) -> bool:
        """Whether this process validates, draws, saves and logs."""
        return self.share.rank == 0

    @property
    def lineage(self) -> dict[str, object]:
        """The settings of this stage and of all before it, by stage."""
        return {**self.encoded.index["settings"], "train": self.settings.model_dump(mode="json")}


def assemble(folder: Path, settings: TrainSettings, model: ModelSettings, share: Share, device: torch.device) -> Run:
    """Load everything and put the adapter on.

    Raises:
        UserError: the pictures were encoded with another base, or settings do not suit the model.
    """
    encoded = Encoded(folder)
    split = hold_out(encoded.buckets, settings.validation)
    draws = bool(settings.samples.every) and share.rank == 0
    parts = ("vae", "text", "network") if draws else ("network",)
    dtype = torch.bfloat16 if share.bf16 else torch.float32
    family = load_family(model, parts, device, dtype, half_on_gpu(device))
    _check_base(encoded, family, model)
    _check_timesteps(family, settings)
    if draws:
        check_steps(family, settings.samples.steps, "train.samples.steps")
    family.rest()
    # The layout that convolutions on GPUs are written for: not measured here on one; a CPU loses nothing.
    family.network.to(memory_format=torch.channels_last)
    if settings.trainer.gradient_checkpointing:
        family.network.enable_gradient_checkpointing()
    targets = target_names(family, settings.adapter.targets)
    put_adapter(family, settings.adapter, targets, settings.seed)
    kiln = Kiln(family, encoded.to_device(device), split.trained, settings, share)
    return Run(settings, model, encoded, family, split, targets, kiln, device)


def _check_base(encoded: Encoded, family: Family, model: ModelSettings) -> None:
    before = encoded.index["base"]
    if before["hash"] != family.facts["hash"]:
        raise UserError(
            f"the pictures were encoded with {before['path']}, which is not {model.path} as it is now",
            fix="run the stage `encode` again",
        )
    if family.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"a model that predicts {family.prediction_type!r} cannot be trained",
            where=model.path,
            fix="use one that predicts epsilon or v_prediction",
        )


def _check_timesteps(family: Family, settings: TrainSettings) -> None:
    end, objective = len(family.alphas_cumprod), settings.objective
    if objective.min_timestep >= min(objective.max_timestep or end, end):
        raise UserError(
            f"no timestep is left: min_timestep {objective.min_timestep}, max_timestep {objective.max_timestep}",
            where="train.objective",
            fix=f"the model has timesteps 0 to {end - 1}",
        )

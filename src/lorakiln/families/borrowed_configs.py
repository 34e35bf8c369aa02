"""What a single file lacks and a folder has: the parts' configs, the tokenizers, the noise schedule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.console.errors import UserError
from lorakiln.families.config_ranges import read_values
from lorakiln.families.kinds import list_versions
from lorakiln.families.model_source import find_model_folder, is_hub_id
from lorakiln.families.versions import END, START, Architecture, Config
from lorakiln.schema.model import ModelSettings

# Of all families here (their models' scheduler_config.json).
NOISE = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
CLIPS = ("vocab.json", "merges.txt")
CLIPS_FILES = "CLIP's vocab.json and merges.txt (any Stable Diffusion of the family in diffusers' layout has them)"


@dataclass(frozen=True)
class Tokenizer:
    """Where a tokenizer is read from.

    Attributes:
        names: of its files in `folder`.
        options: what those leave open, as CLIPTokenizer takes it; empty for a model's own folder.
    """

    folder: Path
    names: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def own(cls, folder: Path) -> "Tokenizer":
        """All files of a model's own folder."""
        return cls(folder, tuple(sorted(path.name for path in folder.glob("*") if path.is_file())))

    def check(self) -> None:
        """Raise UserError if a model's own folder holds no tokenizer, for one made of nothing would be taken for it; or
        one whose config nobody can use.
        """
        for name in CLIPS:
            check_regular(self.folder / name)
        if "tokenizer.json" not in self.names and (absent := [one for one in CLIPS if one not in self.names]):
            fix = f"download the model again, or put {CLIPS_FILES} there"
            raise UserError(f"no tokenizer there: {' and '.join(absent)} missing", where=self.folder, fix=fix)
        if "tokenizer_config.json" in self.names:
            read_values(self.folder / "tokenizer_config.json")

    @property
    def files(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    @property
    def config(self) -> dict[str, Any]:
        """tokenizer_config.json for one that has options."""
        special = {"bos_token": START, "eos_token": END, "unk_token": END}
        return {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, **special, **self.options}


@dataclass(frozen=True)
class BorrowedConfigs:
    """What goes beside the weights.

    Attributes:
        configs: by folder: vae, text_encoder, ...
        tokenizers: by folder.
        scheduler: scheduler_config.json, prediction_type left out unless the lender says it.
    """

    configs: dict[str, Config]
    tokenizers: dict[str, Tokenizer]
    scheduler: dict[str, Any]


def borrow_configs(model: ModelSettings, architecture: Architecture) -> BorrowedConfigs:
    """From `model.config`, a folder or hub id in diffusers' layout, what it has; the rest is the family's own.

    Raises:
        UserError: the folder or the tokenizer is not there.
    """
    lender = _lender(model, architecture)
    configs = _configs(lender, architecture)
    scheduler = lender / "scheduler" / "scheduler_config.json" if lender else None
    # A scheduler's config that does not say what is predicted means the noise, as in diffusers.
    found = read_values(scheduler) if scheduler and scheduler.exists() else None
    noise = dict(NOISE) if found is None else {"prediction_type": "epsilon", **found}
    return BorrowedConfigs(
        configs, {name: _tokenizer(model, lender, name, architecture) for name in architecture.pads}, noise
    )


def borrow_config(model: ModelSettings, architecture: Architecture, part: str) -> Config:
    """One part's config; see `borrow_configs`."""
    return _configs(_lender(model, architecture), architecture)[part]


def _configs(lender: Path | None, architecture: Architecture) -> dict[str, Config]:
    theirs = {part: lender / part / "config.json" for part in architecture.parts} if lender else {}
    return {
        part: read_values(theirs[part]) if part in theirs and theirs[part].exists() else config
        for part, config in architecture.parts.items()
    }


def _lender(model: ModelSettings, architecture: Architecture) -> Path | None:
    if model.config is None:
        return None
    patterns = ["scheduler/*.json", *(f"{part}/config.json" for part in architecture.parts)]
    patterns += [f"{folder}/*.{ending}" for folder in architecture.pads for ending in ("json", "txt")]
    return find_model_folder(model.config, None, patterns)


def _tokenizer(model: ModelSettings, lender: Path | None, name: str, architecture: Architecture) -> Tokenizer:
    if lender and (lender / name).is_dir():
        own = Tokenizer.own(lender / name)
        own.check()
        return own
    # OpenAI's CLIP has the tokenizer of all these models, and `model.clip` is needed for the report anyway. Two files
    # of it alone: what else its folder holds depends on who fetched it.
    try:
        folder = find_model_folder(model.clip.path, model.clip.revision, CLIPS)
    except UserError as error:
        what = f"a single file has no tokenizer, and that of {error.where} is not to be had: {error.what}"
        raise UserError(what, where=model.path, fix=explain_tokenizer_fix(model)) from error
    if absent := [one for one in CLIPS if not (folder / one).is_file()]:
        what = f"a single file has no tokenizer, nor has model.clip: no {absent[0]} in {folder}"
        raise UserError(what, where=model.path, fix=explain_tokenizer_fix(model))
    length = architecture.parts[name.replace("tokenizer", "text_encoder")]["max_position_embeddings"]
    return Tokenizer(folder, CLIPS, {"model_max_length": length, "pad_token": architecture.pads[name]})


def explain_tokenizer_fix(model: ModelSettings) -> str:
    """What to do about a single file's tokenizer that is missing or another one's."""
    fetched = (
        f"connect once, so that {model.clip.path} is in the hub's cache; or " if is_hub_id(model.clip.path) else ""
    )
    also = {name: one.a1111 for one in list_versions() for name in one.architecture.pads if name != "tokenizer"}
    more = "".join(f", for {title} also into FOLDER/{name}" for name, title in also.items())
    return f"{fetched}put {CLIPS_FILES} into FOLDER/tokenizer{more}, and set model.config=FOLDER"

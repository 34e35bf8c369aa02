"""The files of a Stable Diffusion (1.x, 2.x, XL), a folder in diffusers' layout or a single file, and loading them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTokenizer

from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError
from lorakiln.diffusion.processes.ddpm import PREDICTIONS
from lorakiln.families.borrowed_configs import (
    CLIPS_FILES,
    Tokenizer,
    borrow_config,
    borrow_configs,
    explain_tokenizer_fix,
)
from lorakiln.families.config_ranges import read_values
from lorakiln.families.identity import identify
from lorakiln.families.model_source import find_model_folder, make_weight_patterns
from lorakiln.families.part_files import FolderPart, PartFiles, SinglePart, load_from_folder
from lorakiln.families.sd.file_contents import check_file, find_prediction, find_zero_snr, has_prefix
from lorakiln.families.sd.model_checks import check_kind, check_network, check_version
from lorakiln.families.sd.versions import VAE
from lorakiln.families.versions import Config, Layout
from lorakiln.families.weights_file import is_single_file, open_weights_file
from lorakiln.schema.model import FAMILIES, ModelSettings

CLIP_TOKENS = 49408  # of a text encoder whose config does not say


@dataclass(frozen=True)
class Files:
    """A found model.

    Attributes:
        root: the model's folder or file.
        parts: by folder name: vae, text_encoder, unet, ...
        scheduler: scheduler_config.json.
        scheduler_file: where it was read, None for the family's own.
        facts: see `Family.facts`; "version" is kohya's name of the base (`BaseVersion.kohya`).
    """

    model: ModelSettings
    layout: Layout
    root: Path
    parts: Mapping[str, PartFiles]
    tokenizers: Mapping[str, Tokenizer]
    scheduler: Mapping[str, Any]
    scheduler_file: Path | None
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, model: ModelSettings, layout: Layout) -> "Files":
        """Find or download the model of the settings, check that it is of the layout's family.

        Raises:
            UserError: see `families.load_family`.
        """
        kind = FAMILIES.find(layout.family)
        files = _in_file(model, layout) if is_single_file(model.path) else _in_folder(model, layout)
        files.check()
        usual = kind.versions[0].architecture.parts[layout.network]
        check_network(files.root, files.configs, layout, usual.get("addition_embed_type"))
        prediction = files.scheduler.get("prediction_type", "epsilon")
        where = files.scheduler_file or files.root
        if prediction not in PREDICTIONS:
            fix = f"known: {', '.join(PREDICTIONS)}"
            raise UserError(f"prediction_type {prediction!r} is not supported", where=where, fix=fix)
        if model.prediction_type not in (None, prediction):
            what = f"its scheduler says {prediction}, but model.prediction_type says {model.prediction_type}"
            fix = "use what suits it (model=sd21: epsilon, model=sd21_v: v_prediction), or model.prediction_type=null"
            raise UserError(what, where=where, fix=fix)
        version = kind.version_of(files.configs[layout.network], prediction)
        assert version is not None  # else check_network had refused it
        check_version(version, model.architecture, files.root)
        files.facts.update(
            family=layout.family,
            path=model.path,
            revision=model.revision or "",
            hash=files.identity(),
            prediction_type=prediction,
            version=version.kohya,
        )
        return files

    @cached_property
    def configs(self) -> dict[str, Config]:
        return {"scheduler": self.scheduler, **{part: files.config for part, files in self.parts.items()}}

    def check(self) -> None:
        """Raise UserError if a file is missing, cut off or another: told before hours of work, whatever is loaded."""
        for part in self.parts.values():
            part.check()
        for tokenizer in self.tokenizers.values():
            if not tokenizer.options:
                tokenizer.check()

    def identity(self) -> str:
        """The identity of all that decides what the model draws: weights, configs, tokenizer."""
        used = [] if self.scheduler_file is None else [("scheduler", self.scheduler_file)]
        used += [(part, path) for part, files in self.parts.items() for path in files.files()]
        used += [(name, path) for name, tokenizer in self.tokenizers.items() for path in tokenizer.files]
        identity = identify((f"{part}/{path.name}", path) for part, path in used)
        said = {part: files.facts() for part, files in self.parts.items() if files.facts() is not None}
        said |= {name: tokenizer.options for name, tokenizer in self.tokenizers.items() if tokenizer.options}
        return hash_data(identity, said, dict(self.scheduler)) if said else identity

    def load(self, kind: type, part: str, dtype: torch.dtype) -> nn.Module:
        """See `part_files.PartFiles.load`."""
        return self.parts[part].load(kind, dtype)

    def load_tokenizer(self, name: str) -> CLIPTokenizer:
        """A tokenizer by its folder's name.

        Raises:
            UserError: its files are missing or damaged, or it is another than the text encoder's.
        """
        source = self.tokenizers[name]
        tokenizer: CLIPTokenizer = load_from_folder(CLIPTokenizer, source.folder, **source.options)
        known = self.parts[name.replace("tokenizer", "text_encoder")].config.get("vocab_size", CLIP_TOKENS)
        # Another model's, lent, gives wrong numbers without a word; a model's own may leave some of them unused.
        if len(tokenizer) > known or (source.options and len(tokenizer) != known):
            what = f"this tokenizer has {len(tokenizer)} tokens, the model's text encoder {known}"
            own = f"put the model's own tokenizer there: {CLIPS_FILES}"
            borrowed = source.options or self.model.config
            raise UserError(
                f"{what} (that of {source.folder})" if source.options else what,
                where=self.root if source.options else source.folder,
                fix=explain_tokenizer_fix(self.model) if borrowed else own,
            )
        return tokenizer


def _in_folder(model: ModelSettings, layout: Layout) -> Files:
    names = ("config.json", *make_weight_patterns(model.variant))
    wanted = [f"{part}/{name}" for part in layout.weights for name in names]
    texts = [f"{folder}/*.{ending}" for folder in layout.tokenizers for ending in ("json", "txt")]
    root = find_model_folder(model.path, model.revision, ["model_index.json", "scheduler/*.json", *texts, *wanted])
    check_kind(root, layout)
    scheduler = root / "scheduler" / "scheduler_config.json"
    noise = read_values(scheduler)
    own = layout.weights if model.vae is None else layout.weights[1:]
    parts: dict[str, PartFiles] = {part: FolderPart(root / part, model.variant) for part in own}
    if model.vae is not None:
        parts["vae"] = _vae(model, layout, root / "vae" / "config.json")
    tokenizers = {folder: Tokenizer.own(root / folder) for folder in layout.tokenizers}
    return Files(model, layout, root, parts, tokenizers, noise, scheduler)


def _in_file(model: ModelSettings, layout: Layout) -> Files:
    path = Path(model.path).expanduser()
    if model.revision is not None:
        raise UserError("a local file has no revisions", where=path, fix="set model.revision to null")
    checkpoint = open_weights_file(path, model.allow_pickle)
    version = check_file(checkpoint, layout, own_vae=model.vae is None)
    borrowed = borrow_configs(model, version.architecture)
    prediction = find_prediction(checkpoint, version, model.prediction_type, borrowed.scheduler.get("prediction_type"))
    parts: dict[str, PartFiles] = {
        part: SinglePart(checkpoint, prefix, borrowed.configs[part])
        for part, prefix in version.architecture.prefixes.items()
    }
    if model.vae is not None:
        parts["vae"] = _vae(model, layout, None)
    noise = {**borrowed.scheduler, "prediction_type": prediction, **find_zero_snr(checkpoint)}
    return Files(model, layout, path, parts, borrowed.tokenizers, noise, None)


def _vae(model: ModelSettings, layout: Layout, replaced: Path | None) -> PartFiles:
    """Another VAE: a folder, a file that holds one alone (in LDM's names or diffusers'), or a whole model's file.

    Args:
        replaced: config.json of the VAE in whose place it comes; a VAE's file has none.
    """
    assert model.vae is not None
    if is_single_file(model.vae):
        checkpoint = open_weights_file(Path(model.vae).expanduser(), model.allow_pickle)
        known = replaced is not None and replaced.exists() and model.config is None
        # Where a family's architectures differ, the first one's VAE is that of all.
        architecture = FAMILIES.find(layout.family).versions[0].architecture
        config = read_values(replaced) if known and replaced else borrow_config(model, architecture, "vae")
        return SinglePart(checkpoint, VAE if has_prefix(checkpoint.tensors, VAE) else "", config)
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    root = find_model_folder(model.vae, None, [*names, *(f"vae/{name}" for name in names)])
    return FolderPart(root if (root / "config.json").exists() else root / "vae", None)

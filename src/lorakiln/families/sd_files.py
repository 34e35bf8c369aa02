"""The files of a Stable Diffusion of any kind: which there are, what they say the model is, and loading them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.families.identity import identify
from lorakiln.families.layouts import Layout
from lorakiln.families.recognise import check_kind, check_network, version_of
from lorakiln.families.source import find, read_config, weight_files, weight_patterns
from lorakiln.schema.model import ModelSettings

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Files:
    """A found model.

    Attributes:
        root: the model's local folder.
        vae: the folder of the VAE's own files.
        variant: of the model's weight files; another VAE has none.
        configs: by folder name: scheduler, vae, text_encoder, unet, ...
        facts: see `Family.facts`; "version" is kohya's name of the base: sd_v1, sd_v2, sd_v2_v or sdxl_base_v1-0.
    """

    layout: Layout
    root: Path
    vae: Path
    variant: str | None
    own_vae: bool
    configs: Mapping[str, Mapping[str, Any]]
    facts: dict[str, str]

    @classmethod
    def find(cls, model: ModelSettings, layout: Layout) -> "Files":
        """Find or download the model of the settings, check that it is of the layout's family.

        Raises:
            UserError: see `families.load_family`.
        """
        names = ("config.json", *weight_patterns(model.variant))
        parts = [f"{part}/{name}" for part in layout.weights for name in names]
        texts = [f"{folder}/*.{ending}" for folder in layout.tokenizers for ending in ("json", "txt")]
        root = find(model.path, model.revision, ["model_index.json", "scheduler/*.json", *texts, *parts])
        check_kind(root, layout)
        vae = root / "vae" if model.vae is None else _find_vae(model.vae)
        folders = {part: vae if part == "vae" else root / part for part in layout.configs}
        configs = {part: read_config(folders[part] / name) for part, name in layout.configs.items()}
        check_network(root, configs, layout)
        files = cls(layout, root, vae, model.variant, model.vae is None, configs, {})
        prediction = configs["scheduler"].get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS:
            fix = f"known: {', '.join(PREDICTIONS)}"
            raise UserError(f"prediction_type {prediction!r} is not supported", where=root / "scheduler", fix=fix)
        files.facts.update(
            family=layout.family, path=model.path, revision=model.revision or "", hash=files.identity(),
            prediction_type=prediction, version=version_of(configs["unet"], prediction),
        )  # fmt: skip
        return files

    def folder(self, part: str) -> Path:
        return self.vae if part == "vae" else self.root / part

    def identity(self) -> str:
        """The identity of all that decides what the model draws: weights, configs, tokenizer."""
        layout = self.layout
        used = [(part, self.folder(part) / name) for part, name in layout.configs.items()]
        used += [
            (part, path) for part in layout.weights for path in weight_files(self.folder(part), self._variant(part))
        ]
        for folder in layout.tokenizers:
            used += [(folder, path) for path in sorted((self.root / folder).glob("*")) if path.is_file()]
        return identify((f"{part}/{path.name}", path) for part, path in used)

    def load(self, kind: type, part: str, **options: Any) -> Any:
        """An instance of `kind` from the part's folder.

        Raises:
            UserError: the files are missing, damaged, or of another shape than their config says.
        """
        if part in self.layout.weights:
            options |= {"use_safetensors": True, "variant": self._variant(part)}
        folder = self.folder(part)
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # safetensors, transformers and diffusers raise whatever they like here
            fix = "the model's files are incomplete or damaged: download it again"
            raise UserError(f"cannot be loaded ({error})", where=folder, fix=fix) from error

    def _variant(self, part: str) -> str | None:
        return self.variant if part != "vae" or self.own_vae else None


def _find_vae(path: str) -> Path:
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    root = find(path, None, [*names, *(f"vae/{name}" for name in names)])
    return root if (root / "config.json").exists() else root / "vae"

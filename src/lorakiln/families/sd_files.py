"""The files of a Stable Diffusion: which there are, what they say the model is, and loading them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.families.identity import identify
from lorakiln.families.source import find, read_config, weight_files, weight_patterns
from lorakiln.schema.model import ModelSettings

CONFIGS = {
    "scheduler": "scheduler_config.json", "vae": "config.json", "text_encoder": "config.json", "unet": "config.json",
}  # fmt: skip
WEIGHTS = ("vae", "text_encoder", "unet")
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Files:
    """A found model.

    Attributes:
        root: the model's local folder.
        vae: the folder of the VAE's own files.
        variant: of the model's weight files; another VAE has none.
        configs: by folder name: scheduler, vae, text_encoder, unet.
        facts: see `Family.facts`; and "version", kohya's name of the base: sd_v1, sd_v2 or sd_v2_v.
    """

    root: Path
    vae: Path
    variant: str | None
    own_vae: bool
    configs: Mapping[str, Mapping[str, Any]]
    facts: dict[str, str]

    @classmethod
    def find(cls, model: ModelSettings) -> "Files":
        """Find or download the model of the settings, check that it is a Stable Diffusion 1.x or 2.x.

        Raises:
            UserError: see `families.load_family`.
        """
        parts = [f"{part}/{name}" for part in WEIGHTS for name in ("config.json", *weight_patterns(model.variant))]
        texts = ["model_index.json", "scheduler/*.json", "tokenizer/*.json", "tokenizer/*.txt"]
        root = find(model.path, model.revision, [*texts, *parts])
        _check_kind(root)
        vae = root / "vae" if model.vae is None else _find_vae(model.vae)
        configs = {part: read_config((vae if part == "vae" else root / part) / name) for part, name in CONFIGS.items()}
        _check_network(root, configs)
        files = cls(root, vae, model.variant, model.vae is None, configs, {})
        prediction = configs["scheduler"].get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS:
            fix = f"known: {', '.join(PREDICTIONS)}"
            raise UserError(f"prediction_type {prediction!r} is not supported", where=root / "scheduler", fix=fix)
        version = "sd_v2" if configs["unet"].get("use_linear_projection") else "sd_v1"
        files.facts.update(
            family="sd", path=model.path, revision=model.revision or "", hash=files.identity(),
            prediction_type=prediction, version=version + ("_v" if prediction == "v_prediction" else ""),
        )  # fmt: skip
        return files

    def folder(self, part: str) -> Path:
        return self.vae if part == "vae" else self.root / part

    def identity(self) -> str:
        """The identity of all that decides what the model draws: weights, configs, tokenizer."""
        used = [(part, self.folder(part) / name) for part, name in CONFIGS.items()]
        used += [(part, path) for part in WEIGHTS for path in weight_files(self.folder(part), self._variant(part))]
        used += [("tokenizer", path) for path in sorted((self.root / "tokenizer").glob("*")) if path.is_file()]
        return identify((f"{part}/{path.name}", path) for part, path in used)

    def load(self, kind: type, part: str, **options: Any) -> Any:
        """An instance of `kind` from the part's folder.

        Raises:
            UserError: the files are missing, damaged, or of another shape than their config says.
        """
        if part in WEIGHTS:
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


def _check_kind(root: Path) -> None:
    """Refuse what is no UNet model at all (SD3, Flux, ...) by what the folder says it is."""
    index = read_config(root / "model_index.json") if (root / "model_index.json").exists() else {}
    kind = index.get("_class_name", "a model without a UNet")
    if not (root / "unet").is_dir() or (root / "text_encoder_2").is_dir():
        fix = "name a Stable Diffusion 1.x or 2.x, or set model.family to what this is"
        raise UserError(f"this is {kind}, but model.family says sd", where=root, fix=fix)


def _check_network(root: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse UNets that take something else than latents and text (inpainting, depth, image variations, SDXL)."""
    unet, latent = configs["unet"], configs["vae"].get("latent_channels", 4)
    channels = unet.get("in_channels", 4)
    problem = ""
    if unet.get("addition_embed_type"):
        problem = f"its UNet also wants {unet['addition_embed_type']} embeddings, as SDXL's does"
    elif channels != latent:
        known = {9: "an inpainting model", 5: "a depth model", 7: "an upscaler", 8: "an instruction model"}
        kind = known.get(channels, "another kind of model") if latent == 4 else "another kind of model"
        problem = f"its UNet takes {channels} channels where the VAE makes {latent}: {kind}"
    elif unet.get("cross_attention_dim") != configs["text_encoder"].get("hidden_size"):
        problem = (
            f"its UNet reads texts of width {unet.get('cross_attention_dim')}, "
            f"its text encoder writes width {configs['text_encoder'].get('hidden_size')}"
        )
    if problem:
        raise UserError(problem, where=root / "unet", fix="name a text-to-image Stable Diffusion 1.x or 2.x")

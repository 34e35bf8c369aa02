"""Base models between single files and folders in diffusers' layout; old pickles become safetensors."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import __version__ as diffusers_version
from torch import Tensor

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_json
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.families.borrowed_configs import Tokenizer
from lorakiln.families.kinds import FamilyKind, find_version, list_versions, recognise_file, recognise_folder
from lorakiln.families.model_source import PICKLES, find_variant
from lorakiln.families.part_tensors import read_class, to_original_tensors
from lorakiln.families.sd.file_contents import has_prefix
from lorakiln.families.sd.files import PREDICTIONS, Files
from lorakiln.families.versions import BaseVersion
from lorakiln.families.weights_file import WeightsFile, is_single_file, open_weights_file
from lorakiln.tools.base_weights import make_reading_settings


def is_base(source: Path) -> bool:
    """Whether `source` is a base model's folder or file, or a pickle, which no LoRA here is."""
    if source.is_dir():
        return (source / "model_index.json").exists()
    if source.suffix.lower() in PICKLES:
        return True
    if source.suffix.lower() != ".safetensors" or not source.is_file():
        return False
    names = open_weights_file(source, allow_pickle=False).tensors
    wanted = ((one.architecture.prefixes, part) for one in list_versions() for part in (one.layout.network, "vae"))
    return any(has_prefix(names, prefixes[part]) for prefixes, part in wanted if part in prefixes)


def convert_base(
    source: Path,
    out: Path,
    dtype: torch.dtype | None = None,
    *,
    config: str | None = None,
    prediction_type: str | None = None,
    allow_pickle: bool = False,
) -> str:
    """Write a base model in the form that `out` has: a single file (.safetensors) or a folder in diffusers' layout.

    A file becomes a file under the same names, whatever it holds; all else must be a Stable Diffusion 1.x, 2.x or XL.

    Args:
        dtype: of the stored weights; None: as they are.
        config: see `schema.model.ModelSettings.config`; a single file has no tokenizer.
        prediction_type: for Stable Diffusion 2.x files that do not say it.
        allow_pickle: whether a .ckpt may be read.

    Returns:
        what was made, in words.

    Raises:
        UserError: the source is something else, incomplete or damaged; the disk is full. Nothing is left then.
    """
    if prediction_type not in (None, *PREDICTIONS):
        raise UserError(f"{prediction_type!r} is no prediction", fix=f"known: {', '.join(PREDICTIONS)}")
    to_file = out.suffix.lower() == ".safetensors"
    if to_file and is_single_file(str(source)):
        return _refile(open_weights_file(source.expanduser(), allow_pickle), out, dtype)
    files = _files(source, config, prediction_type, allow_pickle)
    if to_file:
        _write_file(files, out, dtype)
    else:
        _write_folder(files, out, dtype)
    return f"{find_version(files.facts['version']).title}, {files.facts['prediction_type']}"


def _files(source: Path, config: str | None, prediction: str | None, allow_pickle: bool) -> Files:
    if is_single_file(str(source)):
        found: BaseVersion | FamilyKind | str = recognise_file(open_weights_file(source.expanduser(), allow_pickle))
    elif source.is_dir():
        found = recognise_folder(source)
    else:
        raise UserError("no such file or folder", where=source, fix="correct the path")
    # What is none is refused where it is read, as the first family's.
    layout = list_versions()[0].layout if isinstance(found, str) else found.layout
    more: dict[str, Any] = {"config": config, "prediction_type": prediction, "allow_pickle": allow_pickle}
    if source.is_dir():
        more["variant"] = find_variant(source / layout.network)
    settings = make_reading_settings(source, layout.family, **more)
    return Files.find(settings, layout)


def _refile(checkpoint: WeightsFile, out: Path, dtype: torch.dtype | None) -> str:
    """The same tensors under the same names; what else a pickle holds (optimizer, counters) stays behind."""
    if not checkpoint.tensors:
        raise UserError("there are no tensors in it", where=checkpoint.path, fix="name a file of weights")
    found = recognise_file(checkpoint)
    _save(out, checkpoint.tensors, dtype, checkpoint.metadata)
    title = found if isinstance(found, str) else found.title
    return f"{title}, {format_count(len(checkpoint.tensors), 'tensor')}"


def _write_file(files: Files, out: Path, dtype: torch.dtype | None) -> None:
    version = find_version(files.facts["version"])
    tensors: dict[str, Tensor] = {}
    for part, found in files.parts.items():
        try:
            tensors |= to_original_tensors(found.tensors(), found.config, version.architecture.prefixes[part])
        except (KeyError, ValueError) as error:
            what = f"its {part} has not the tensors that its config says: {error}"
            raise UserError(what, where=found.where, fix="download it again") from error
    v = files.facts["prediction_type"] == "v_prediction"
    # A1111 and ComfyUI know by these a model of another kind, whose version does not tell what it predicts.
    marks = {"v_pred": v and version.prediction is None, "ztsnr": files.scheduler.get("rescale_betas_zero_snr")}
    tensors |= {name: torch.zeros(1) for name, there in marks.items() if there}
    metadata = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": version.modelspec,
        "modelspec.prediction_type": "v" if v else "epsilon",
        "format": "pt",
    }
    _save(out, tensors, dtype, metadata)


def _write_folder(files: Files, out: Path, dtype: torch.dtype | None) -> None:
    index: dict[str, Any] = {
        "_class_name": find_version(files.facts["version"]).architecture.pipeline,
        "_diffusers_version": diffusers_version,
    }
    with replacing(out) as fresh:
        for part, found in files.parts.items():
            text = "architectures" in found.config
            name = "model" if text else "diffusion_pytorch_model"
            _save(fresh / part / f"{name}.safetensors", found.tensors(), dtype, {"format": "pt"})
            write_json(fresh / part / "config.json", dict(found.config))
            index[part] = ["transformers" if text else "diffusers", read_class(found.config)]
        for name, tokenizer in files.tokenizers.items():
            _copy_tokenizer(tokenizer, fresh / name)
            index[name] = ["transformers", "CLIPTokenizer"]
        write_json(fresh / "scheduler" / "scheduler_config.json", dict(files.scheduler))
        index["scheduler"] = ["diffusers", files.scheduler.get("_class_name", "DDIMScheduler")]
        write_json(fresh / "model_index.json", index)


def _copy_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in tokenizer.files:
        shutil.copyfile(path, folder / path.name)
    if tokenizer.options:
        write_json(folder / "tokenizer_config.json", tokenizer.config)


def _save(out: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, metadata: Mapping[str, str]) -> None:
    def size(value: Tensor) -> int:
        return value.numel() * (dtype if dtype and value.is_floating_point() else value.dtype).itemsize

    check_space(out.parent, sum(map(size, tensors.values())), "the weights")
    save_tensors(out, tensors, metadata, dtype)

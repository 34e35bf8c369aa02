"""Where a model's files are: a local folder in diffusers' layout, or the same from the Hugging Face hub."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.console.errors import UserError

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SINGLE_FILES = (".safetensors", *PICKLES)
HUB = "https://huggingface.co"
SHARD = re.compile(r"-\d+-of-\d+")
INDEX = ".safetensors.index{}.json"
CONFIG_BYTES = 10_000_000  # the index of a large model's shards has 100,000


def find_model_folder(path: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local folder of a model, downloaded from the hub if it is no local one.

    Args:
        path: a local folder or a hub id, "owner/name".
        revision: the hub's branch, tag or commit; not for local folders.
        patterns: which of the hub's files are needed, as shell patterns.

    Raises:
        UserError: there is no such folder or hub model, or the hub cannot be reached and the cache lacks it.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        if revision is not None:
            raise UserError("a local folder has no revisions", where=path, fix="set model.revision to null")
        return local
    if local.suffix.lower() in SINGLE_FILES:
        raise UserError(
            "this is a single file, but here a folder is wanted",
            where=path,
            fix="name a folder or a hub id; single files may be base models (model.path) and VAEs (model.vae)",
        )
    if local.is_file():
        raise UserError(
            "this is a file, and none of weights that can be read",
            where=path,
            fix="name a folder in diffusers' layout, or a .safetensors file",
        )
    if _looks_local(path):
        raise UserError("no such folder", where=path, fix=_near(local))
    return _download(path, revision, patterns)


def is_hub_id(path: str) -> bool:
    """Whether a path of the settings means a model on the hub: "owner/name" where there is no such folder or file."""
    return not (Path(path).expanduser().exists() or _looks_local(path)) and Path(path).suffix not in SINGLE_FILES


def find_cached_commit(name: str, revision: str | None) -> str | None:
    """The commit of a hub's model that its cache on this machine holds; None: it holds none. Nothing is asked of the
    network.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    reference = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs" / (revision or "main")
    return reference.read_text("utf-8").strip() if reference.is_file() else None


def _looks_local(path: str) -> bool:
    # Hub ids are "name" or "owner/name". "models/mine", where a folder models/ stands here, is a mistyped folder.
    return (
        path.startswith((".", "/", "~"))
        or "\\" in path
        or path.count("/") > 1
        or ("/" in path and Path(path).parent.is_dir())
    )


def _near(folder: Path) -> str:
    parent = folder.parent
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    beside = (
        f"folders in {parent}: {', '.join(names) or 'none'}" if parent.is_dir() else f"{parent} is not there either"
    )
    return f"correct the path, or name a hub id such as owner/name ({beside})"


def _download(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # of whichever HTTP library the hub's client is built on
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        fix = f"accept its terms at {HUB}/{name}, then run `hf auth login`"
        raise UserError("the hub wants you to accept this model's terms first", where=name, fix=fix) from error
    except RevisionNotFoundError as error:
        fix = f"see {HUB}/{name}/commits/main"
        raise UserError(f"the hub's model has no revision {revision!r}", where=name, fix=fix) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        fix = f"check the name at {HUB}, or the folder's path; for a private model run `hf auth login`"
        raise UserError("no such local folder, and no such model on the hub", where=name, fix=fix) from error
    except LocalEntryNotFoundError as error:
        fix = (
            f"connect, or unset HF_HUB_OFFLINE; or on a connected machine run `hf download {name} --local-dir FOLDER`, "
            "copy FOLDER here and name it instead"
        )
        raise UserError("the hub cannot be reached, and the model is not in the cache", where=name, fix=fix) from error
    except (OSError, HTTPError) as error:
        raise UserError(
            f"the download failed ({error})", where=name, fix="try again; what was fetched is kept"
        ) from error


def read_config(file: Path) -> dict[str, Any]:
    """A part's JSON config.

    Raises:
        UserError: it is missing, longer than CONFIG_BYTES, or no JSON object.
    """
    check_regular(file)
    try:
        if file.stat().st_size > CONFIG_BYTES:
            raise ValueError(f"longer than {CONFIG_BYTES:,} bytes")
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            "missing: the model is no complete folder in diffusers' layout",
            where=file,
            fix="download it again",
        ) from error
    except RecursionError as error:
        raise UserError("not a config: nested too deep", where=file, fix="download it again") from error
    except (OSError, ValueError) as error:
        raise UserError(f"not a readable config ({error})", where=file, fix="download it again") from error
    if not isinstance(data, dict):
        raise UserError("not a config: no JSON object", where=file, fix="download it again")
    return data


def make_weight_patterns(variant: str | None) -> list[str]:
    """Shell patterns of a part's weights in diffusers' naming: one file, or numbered shards with their index."""
    stem = "*model" + (f".{variant}" if variant else "")
    return [
        f"{stem}.safetensors",
        f"{stem}-[0-9]*.safetensors",
        f"*model.safetensors.index*{variant or ''}.json",
    ]


def find_variant(folder: Path) -> str | None:
    """The variant of a part's weights to take where nobody has said which: none if there are plain ones, else fp16,
    else the first."""
    if _weights(folder, None):
        return None
    names = (re.search(r"model\.([^.-]+)(-\d+-of-\d+)?\.safetensors$", path.name) for path in folder.glob("*"))
    found = {name[1] for name in names if name}
    return "fp16" if "fp16" in found else min(found, default=None)


def resolve_variant(folder: Path, variant: str | None) -> str | None:
    """The variant if the part has it; else None, whose files bear no variant's name.

    People who keep a model in a folder have one set of weights, whatever the hub calls them.
    """
    return variant if variant is None or _weights(folder, variant) else None


def _weights(folder: Path, variant: str | None) -> list[Path]:
    return sorted(path for pattern in make_weight_patterns(variant)[:2] for path in folder.glob(pattern))


def list_weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files of one part, sorted: those of `resolve_variant`.

    Raises:
        UserError: there are none.
    """
    if files := _weights(folder, resolve_variant(folder, variant)):
        return files
    others = sorted(path.name for path in folder.glob("*") if path.suffix in SINGLE_FILES)
    fix = f"there are: {', '.join(others)}" if others else "download the model again"
    if variant and not others:
        fix = "the model may have no such variant: set model.variant=null"
    elif any(name.endswith(".safetensors") for name in others):
        fix += "; set model.variant, such as fp16"
    elif others:
        fix += "; only safetensors are read, for pickles can run code: take the model's safetensors"
    named = f" of the variant {variant!r}" if variant else ""
    raise UserError(f"no safetensors weights{named}", where=folder, fix=fix)


def select_whole_set(folder: Path, variant: str | None) -> list[Path]:
    """Those of `list_weight_files` that together are the part once: the one file, or the shards that the index lists.

    Raises:
        UserError: there are none, or a shard is missing.
    """
    files = list_weight_files(folder, variant)
    # Beside the part's own there may be what another tool saved: "ema_model.safetensors".
    named = [path for path in files if path.name.startswith(("model", "diffusion_pytorch_model"))] or files
    if whole := [path for path in named if not SHARD.search(path.name)]:
        return whole[:1]
    kept = resolve_variant(folder, variant)
    index = folder / (SHARD.split(named[0].name)[0].removesuffix(f".{kept}") + INDEX.format(f".{kept}" if kept else ""))
    if not index.exists():
        return named
    places = read_config(index).get("weight_map", {})
    if not isinstance(places, dict):
        raise UserError("not an index: weight_map is no JSON object", where=index, fix="download it again")
    listed = {folder / Path(str(name)).name for name in places.values()}
    if missing := sorted(path.name for path in listed if not path.is_file()):
        fix = "download the model again"
        raise UserError(f"{index.name} lists files that are not there: {', '.join(missing)}", where=folder, fix=fix)
    return sorted(listed)

"""Which base model a command means: one that is known by name, a file of settings, or any folder, file or hub id."""

import importlib.resources
from pathlib import Path

import lorakiln
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_families, recognise_file, recognise_folder
from lorakiln.families.model_source import find_model_folder, read_config
from lorakiln.families.weights_file import is_single_file, open_weights_file
from lorakiln.schema.base import check
from lorakiln.schema.model import ModelSettings, Source
from lorakiln.schema.strict_yaml import read_yaml

CHECKOUT = Path(lorakiln.__file__).parents[2]
PACKAGED = importlib.resources.files(lorakiln) / "conf" / "model"  # setup.py puts them there
DEFAULT = "tiny"
# What suits every model that has seen photographs.
CAPTIONER, CLIP = "Salesforce/blip-image-captioning-large", "openai/clip-vit-large-patch14"


def find_model_settings(name: str | None, base: str | None) -> ModelSettings:
    """The settings called `name`, with `base` in the place of their model; without a name those that suit `base`.

    Args:
        name: of a file in conf/model: the project's in the current folder, or else those that came with the package;
            or a .yaml file. None: the embedded model, if there is no `base` either.

    Raises:
        UserError: there is no such file, it holds no settings of a model, or `base` is no model that is known here.
    """
    if name is None and base:
        return make_model_settings(base)
    file = _file_of(name or DEFAULT)
    settings = read_yaml(file)
    if base:
        settings |= {"path": base, "revision": None, "variant": None}
    return _from_here(check(ModelSettings, settings, str(file)), file)


def is_named(base: str) -> bool:
    """Whether a base is the name of known settings, and no path."""
    return "/" not in base and not Path(base).exists()


def find_settings_of(base: str | None) -> ModelSettings:
    """The settings of a base, whatever it is called by: a name in conf/model, a .yaml file, a folder, file or hub id.

    Args:
        base: None: the embedded model.

    Raises:
        UserError: as `find_model_settings`.
    """
    if base is not None and (is_named(base) or base.endswith(".yaml")):
        return find_model_settings(base, None)
    return find_model_settings(None, base)


def make_model_settings(base: str) -> ModelSettings:
    """Settings for a base model by what it says of itself: its family, and the size that it was trained at.

    Args:
        base: a folder in diffusers' layout, a single file, or a hub id, of which then the configs are fetched.

    Raises:
        UserError: there is no such model, or it is of no family that is known here.
    """
    if is_single_file(base):
        version = recognise_file(open_weights_file(Path(base).expanduser(), allow_pickle=False))
        if isinstance(version, str):
            fix = "name a whole Stable Diffusion 1.x, 2.x or XL"
            raise UserError(f"this is {version}", where=base, fix=fix)
        layout, parts = version.layout, version.architecture.parts
        network, vae = parts[layout.network], parts["vae"]
    else:
        configs = {f"{kind.layout.network}/config.json": None for kind in list_families()}
        root = find_model_folder(base, None, ["model_index.json", *configs, "vae/config.json"])
        kind = recognise_folder(root)
        if isinstance(kind, str):
            fix = "name a Stable Diffusion 1.x, 2.x or XL in diffusers' layout"
            raise UserError(f"this is {kind}, which is not drawn with here", where=base, fix=fix)
        layout = kind.layout
        network, vae = (read_config(root / part / "config.json") for part in (layout.network, "vae"))
    # The VAE halves the picture between two of its levels.
    side = int(network.get("sample_size") or 64) * 2 ** (len(vae.get("block_out_channels", [0] * 4)) - 1)
    return ModelSettings(
        family=layout.family,
        path=base,
        resolution=side,
        bucket_min=side // 2,
        bucket_max=2 * side,
        bucket_step=max(side // 8, 8),
        captioner=Source(path=CAPTIONER),
        clip=Source(path=CLIP),
    )


def _file_of(name: str) -> Path:
    if name.endswith(".yaml"):
        if not (file := Path(name)).is_file():
            raise UserError("no such file", where=file, fix="name a model, or a .yaml file like those in conf/model")
        return file
    folders = Path("conf/model"), CHECKOUT / "conf/model", Path(str(PACKAGED))
    for folder in folders:
        if (file := folder / f"{name}.yaml").is_file():
            return file
    known = sorted({one.stem for folder in folders for one in folder.glob("*.yaml")})
    what = f"no such model: {name}"
    if name == DEFAULT:
        what = "the embedded model is not here: it comes with the project's checkout, not with the package"
    fix = f"give --model one of {', '.join(known) or 'none'}, or --base a model's folder, file or hub id"
    raise UserError(what, where="--model", fix=fix)


def _from_here(settings: ModelSettings, file: Path) -> ModelSettings:
    """Paths of the checkout's own models, which are written as seen from there, as seen from the current folder."""
    if file.parent != CHECKOUT / "conf/model":
        return settings

    def seen(path: str) -> str:
        return str(CHECKOUT / path) if not Path(path).exists() and (CHECKOUT / path).exists() else path

    sources = {
        part: getattr(settings, part).model_copy(update={"path": seen(getattr(settings, part).path)})
        for part in ("captioner", "clip")
    }
    return settings.model_copy(update={"path": seen(settings.path), **sources})

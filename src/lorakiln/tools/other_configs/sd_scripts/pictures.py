"""What is trained on: pictures and captions."""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from lorakiln.schema.augment import VARIANTS
from lorakiln.tools.other_configs.captions import take_class_tokens, take_warmup, take_wildcards
from lorakiln.tools.other_configs.imported import Imported, name_experiment, read_value
from lorakiln.tools.other_configs.sd_scripts.options import Converter, ignore

PIECE = 75  # tokens that a text encoder reads at once
COMMON = {"img", "image", "images", "train", "data", "dataset"}


def _resolution(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    sides = [int(side) for side in re.findall(r"\d+", str(value))]
    if not sides:
        imported.leave("--resolution", value, "no number of pixels")
        return
    side = sides[0]
    if len(set(sides)) > 1:
        side = round(math.sqrt(sides[0] * sides[1]) / 64) * 64
        imported.decided.append(f"prepare.resolution is {side}, of nearly the same area as {value}")
    imported.settings["prepare.resolution"] = side


def _folder(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    path = PureWindowsPath(str(value)) if "\\" in str(value) else Path(str(value))
    # What the GUI calls the folder in every project says nothing.
    plain = path.name.lower() in COMMON
    name = name_experiment(str(given.get("output_name") or path.parent.name) if plain else path.name)
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {value} belong into data/raw/{name}")
    local = Path(str(value))
    trees = sorted(one.name for one in local.iterdir() if re.match(r"\d+_", one.name)) if local.is_dir() else []
    if trees:
        imported.decided.append(
            f"the folders {', '.join(trees)} go there as they are: their names say how often each picture is shown"
        )
        if not any(local.glob("*/*.txt")) and not any(local.glob("*/*.caption")):
            imported.choices["caption"] = "none"
            imported.decided.append("caption=none: where no captions are, sd-scripts takes the folders' class tokens")


def _regularisation(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.decided.append(f"the N_class folders of {value} belong into `reg`, in the dataset's own folder")


def _extension(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["caption.extensions"] = [str(value)]


def _tokenizer_length(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    length = read_value(value)
    if not isinstance(length, int) or length < PIECE:
        imported.leave("--max_token_length", value, f"encode.max_tokens is {PIECE}, {2 * PIECE} or {3 * PIECE}")
        return
    # Of a length in between its tokenizer cuts as many whole pieces as there are in it.
    read = imported.settings["encode.max_tokens"] = min(length // PIECE, 3) * PIECE
    if read != length:
        imported.decided.append(f"encode.max_tokens is {read}, the whole pieces of {PIECE} in {length}")


def _crops(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["encode.augment.crop"] = "random"
    imported.settings["prepare.margin"] = 0.0
    _draw_variants(imported)


def _colours(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    # What it draws of at most: docs/augmentation.md.
    imported.settings |= {"encode.augment.hue": 16.0, "encode.augment.gamma": 0.05}
    _draw_variants(imported)


def _draw_variants(imported: Imported) -> None:
    if "encode.augment.variants" not in imported.settings:
        imported.settings["encode.augment.variants"] = VARIANTS
        imported.decided.append(
            f"encode.augment.variants is {VARIANTS}: what is drawn of a picture is encoded ahead, where kohya draws "
            "anew each time"
        )


def _faces(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    ends = [read_value(one) for one in (value if isinstance(value, list) else str(value).strip("()[]").split(","))]
    if len(ends) == 2 and all(isinstance(one, int | float) for one in ends):
        imported.settings |= {"prepare.face.closest": float(ends[0]), "prepare.face.widest": float(ends[1])}
    imported.leave(
        "--face_crop_aug_range",
        value,
        "faces are found by a detector here: set prepare.face.detector, prepare.margin and encode.augment.crop=face "
        "(docs/augmentation.md)",
    )


def _buckets(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["prepare.bucket.enable"] = True


CONVERTERS: dict[str, Converter] = {
    "resolution": _resolution,
    "train_data_dir": _folder,
    "reg_data_dir": _regularisation,
    "caption_extension": _extension,
    "caption_extention": _extension,
    "enable_wildcard": take_wildcards,
    "token_warmup_step": take_warmup,
    "class_tokens": take_class_tokens,
    "max_token_length": _tokenizer_length,
    "enable_bucket": _buckets,
    "random_crop": _crops,
    "color_aug": _colours,
    "face_crop_aug_range": _faces,
    "cache_latents": ignore,
    "cache_latents_to_disk": ignore,
}

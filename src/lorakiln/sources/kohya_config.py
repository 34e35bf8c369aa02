"""sd-scripts' dataset config: a .toml in the dataset's own folder says what the folders beside it are.

    [general]                   what holds for all, unless a dataset or a subset says otherwise
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "10_dog"        a folder of the dataset; a path from another machine is known by how it ends
    num_repeats = 10

Taken is what decides the pictures, their size, their captions and how often each is shown (TAKEN); what it does not say
of these is the experiment's. All other keys are settings of all pictures here, and told. As there, folders in an
image_dir are not looked into and what is no key is refused; of two subsets of a dataset with one image_dir the first
counts, which is told, and two datasets have it both. Source: sd-scripts, library/config_util.py, train_util.py.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.augment import COLOURS
from lorakiln.schema.base import check
from lorakiln.schema.other_trainers.sd_scripts import SECTIONS
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from lorakiln.sources import Subset
from lorakiln.sources.folder import Folder
from lorakiln.sources.folder.subsets import FolderSubset, SplitFolder

MARK = "[[datasets"
LARGEST = 1_000_000  # bytes of a config
Keys = Mapping[str, tuple[type, ...]]
_BOOL, _INT, _FLOAT, _TEXT, _PAIR = (bool,), (int,), (float, int), (str,), (list,)
# By the lowest place where a key may stand; it may stand in any above it.
DATASET_KEYS: Keys = {
    **dict.fromkeys(("batch_size", "bucket_reso_steps", "max_bucket_reso", "min_bucket_reso", "validation_seed"), _INT),
    **dict.fromkeys(("bucket_no_upscale", "enable_bucket"), _BOOL),
    **dict.fromkeys(("validation_split", "network_multiplier"), _FLOAT),
    "resolution": (int, list),
}
ANY_KEYS: Keys = {
    **dict.fromkeys(
        ("color_aug", "flip_aug", "random_crop", "shuffle_caption", "enable_wildcard", "cache_info"), _BOOL
    ),
    **dict.fromkeys(("num_repeats", "keep_tokens", "token_warmup_min", "caption_dropout_every_n_epochs"), _INT),
    **dict.fromkeys(("token_warmup_step", "caption_dropout_rate", "caption_tag_dropout_rate"), _FLOAT),
    **dict.fromkeys(("keep_tokens_separator", "secondary_separator", "caption_separator", "caption_prefix"), _TEXT),
    **dict.fromkeys(("caption_suffix", "caption_extension", "class_tokens", "resize_interpolation"), _TEXT),
    "custom_attributes": (dict,),
    "face_crop_aug_range": _PAIR,
}
SUBSET_KEYS: Keys = {
    **dict.fromkeys(("image_dir", "conditioning_data_dir", "metadata_file"), _TEXT),
    **dict.fromkeys(("is_reg", "alpha_mask"), _BOOL),
}
# What is taken, by what it is called here.
RULES = {
    "caption_prefix": "prefix",
    "caption_suffix": "suffix",
    "flip_aug": "flip",
    "caption_dropout_rate": "caption_dropout",
    "caption_dropout_every_n_epochs": "caption_dropout_every_epochs",
}
CAPTION_RULES = {
    "shuffle_caption": "shuffle",
    "keep_tokens": "keep_tags",
    "keep_tokens_separator": "keep_separator",
    "secondary_separator": "secondary_separator",
    "caption_separator": "separator",
    "enable_wildcard": "wildcards",
    "caption_tag_dropout_rate": "tag_dropout",
    "token_warmup_min": "tag_warmup_least",
    "token_warmup_step": "tag_warmup_steps",  # but for a share of all steps, which are not known here
}
COLOUR_AUG = {"hue": 16.0, "gamma": 0.05}  # docs/augmentation.md
BUCKET = {
    "enable_bucket": "enable",
    "min_bucket_reso": "min",
    "max_bucket_reso": "max",
    "bucket_reso_steps": "step",
    "bucket_no_upscale": "no_upscale",
}
TAKEN = {
    *("image_dir", "num_repeats", "is_reg", "class_tokens", "caption_extension", "conditioning_data_dir"),
    *("resolution", "alpha_mask", "color_aug", "random_crop", "face_crop_aug_range"),
    *(*RULES, *CAPTION_RULES, *BUCKET),
}


def recognise(raw: Path) -> bool:
    """Whether a dataset config lies in `raw`."""
    return bool(_list_configs(raw))


def open_source(raw: Path, follow_symlinks: bool) -> "KohyaConfig":
    """Raises UserError where there is no config, or several."""
    configs = _list_configs(raw)
    if len(configs) != 1:
        names = ", ".join(path.name for path in configs)
        what = f"several dataset configs: {names}" if configs else "no dataset config, a .toml with [[datasets]]"
        raise UserError(
            what, where=raw, fix="leave one there" if configs else "put it there, or set prepare.source=auto"
        )
    return KohyaConfig(Folder(raw, follow_symlinks), configs[0])


@dataclass(frozen=True)
class KohyaConfig(SplitFolder):
    """A dataset's folder with sd-scripts' config."""

    config: Path

    @property
    def told_by(self) -> str:
        return f"as {self.config.name} says"

    @property
    def subsets(self) -> list[FolderSubset]:
        return list(self._read_subsets[0].values())

    @property
    def remarks(self) -> list[str]:
        return [*self._read_subsets[1], *self._tell_others()]

    @cached_property
    def _read_subsets(self) -> tuple[dict[tuple[int, str], FolderSubset], list[str]]:
        """The subsets by their datasets and folders, of two with the same both the first; and a line about each that is
        left out.
        """
        found, twice = dict[tuple[int, str], FolderSubset](), list[str]()
        for dataset, where, keys in self._list_merged():
            if "metadata_file" in keys:
                fix = "remove the key, and put that file into image_dir as metadata.json, where its captions are read"
                raise UserError("metadata_file is not read", where=f"{where}: metadata_file", fix=fix)
            if "image_dir" not in keys:
                raise UserError("image_dir is missing", where=where, fix="name the subset's folder of pictures")
            folder = self._locate(where, "image_dir", keys["image_dir"])
            masks = keys.get("conditioning_data_dir")
            if (dataset, folder) in found:
                place = where.removeprefix(f"{self.config}: ")
                twice.append(f"{place}: {folder} is in an earlier subset of this dataset, which counts")
                continue
            found[dataset, folder] = FolderSubset(
                folder,
                _make_subset(keys, where, self._has_own_batches),
                self._locate(where, "conditioning_data_dir", masks) if masks else None,
                keys.get("caption_extension"),
            )
        return found, twice

    def _list_merged(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Each subset's dataset, where it stands, and its keys with those above it that it does not have."""
        for number, data in enumerate(self._read.get("datasets", []), 1):
            above = {key: value for key, value in data.items() if key != "subsets"}
            for place, subset in enumerate(data.get("subsets", []), 1):
                where = f"{self.config}: [[datasets]] {number}, subset {place}"
                yield number, where, {**self._read.get("general", {}), **above, **subset}

    @cached_property
    def _has_own_batches(self) -> bool:
        """Whether datasets differ in it: one for all is the training's, where devices and accumulation count too."""
        return len({keys.get("batch_size") for _, _, keys in self._list_merged()}) > 1

    def _tell_others(self) -> list[str]:
        """The keys that are settings here, each with every value that it has."""
        values: dict[str, list[str]] = {}
        for _, _, keys in self._list_merged():
            for key, value in keys.items():
                taken = _is_taken(key, value) or (key == "batch_size" and self._has_own_batches)
                if not taken and repr(value) not in values.setdefault(key, []):
                    values[key].append(repr(value))
        lines = [f"  {key} = {' and '.join(given)}: {_find_counterpart(key)}" for key, given in sorted(values.items())]
        title = f"of {self.config.name} these are settings of all pictures here, and not taken from it"
        return [f"{title} (`lorakiln import` writes them):", *lines] if lines else []

    def _locate(self, where: str, key: str, given: str) -> str:
        """The folder of the dataset that a path means: itself, or the longest end of it that there is."""
        raw, parts = self.folder.raw, [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
        for start in range(len(parts) + (not parts)):
            folder = PurePosixPath(*parts[start:])
            if ".." not in parts[start:] and (raw / folder).is_dir():
                return folder.as_posix()
        fix = f"copy it into {raw}, in which all pictures of the dataset are"
        raise UserError(f"no folder {given!r} in the dataset", where=f"{where}: {key}", fix=fix)

    @cached_property
    def _read(self) -> dict[str, Any]:
        try:
            data = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"is no TOML: {error}", where=self.config, fix="mend this place") from error
        anywhere = {**DATASET_KEYS, **ANY_KEYS}
        self._check("the file", data, {"general": (dict,), "datasets": (list,)})
        self._check("[general]", data.get("general", {}), anywhere)
        for number, dataset in enumerate(data.get("datasets", []), 1):
            self._check(f"[[datasets]] {number}", dataset, {**anywhere, "subsets": (list,)})
            for place, subset in enumerate(dataset.get("subsets", []), 1):
                self._check(f"[[datasets]] {number}, subset {place}", subset, {**ANY_KEYS, **SUBSET_KEYS})
        return data

    def _check(self, where: str, table: Any, known: Keys) -> None:
        """Refuse a key that is none there, and a value of another kind."""
        for key, value in table.items() if isinstance(table, dict) else [(where, table)]:
            place = f"{self.config}: {where}: {key}"
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                fix = f"did you mean {near[0]}?" if near else "remove it, or move it to where sd-scripts takes it"
                raise UserError(f"{key} is no key of a dataset config there", where=place, fix=fix)
            kinds = known[key]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise UserError(f"{value!r} is not of the kind {wanted}", where=place, fix=f"write a {wanted}")


def _list_configs(raw: Path) -> list[Path]:
    """The files beside the dataset's folders that hold [[datasets]]."""
    try:
        paths = sorted(path for path in raw.glob("*.toml") if path.is_file() and path.stat().st_size <= LARGEST)
        return [path for path in paths if MARK in path.read_text(encoding="utf-8", errors="replace")]
    except OSError:
        return []  # what may not be read, the scan tells


def _make_subset(keys: Mapping[str, Any], where: str, batches: bool) -> Subset:
    """Raises UserError where a value is out of its range."""
    given: dict[str, Any] = {ours: keys[theirs] for theirs, ours in RULES.items() if theirs in keys}
    given |= {"batch_size": keys["batch_size"]} if batches and "batch_size" in keys else {}
    augment, face = _read_variants(keys, where)
    given |= {"augment": augment} if augment else {}
    if "enable_wildcard" in keys:  # a file's lines are then captions too
        given["lines"] = keys["enable_wildcard"]
    captions = {ours: keys[theirs] for theirs, ours in CAPTION_RULES.items() if theirs in keys}
    # As there, an empty separator is none, and any number of steps a whole one.
    captions = {name: value for name, value in captions.items() if name != "separator" or value}
    if "tag_warmup_steps" in captions:
        steps = captions.pop("tag_warmup_steps")
        captions |= {"tag_warmup_steps": int(steps)} if _is_taken("token_warmup_step", steps) else {}
    pictures: dict[str, Any] = {name: keys[name] for name in ("resolution", "alpha_mask") if name in keys}
    pictures |= {"face": face} if face else {}
    bucket = {ours: keys[theirs] for theirs, ours in BUCKET.items() if theirs in keys}
    try:
        return Subset(
            max(0, keys.get("num_repeats", 1)),  # as there, 0 repeats are a subset that is not used
            keys.get("is_reg", False),
            " ".join(keys.get("class_tokens", "").split()),
            check(SubsetRules, {**given, **({"captions": captions} if captions else {})}),
            check(PictureRules, {**pictures, **({"bucket": bucket} if bucket else {})}),
            where,
        )
    except ConfigError as error:
        raise UserError("; ".join(error.problems), where=where, fix="mend the key that says so") from error


def _read_variants(keys: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Crops and colours that are drawn, and how close crops around a face are."""
    augment, face = dict[str, Any](), dict[str, Any]()
    if "color_aug" in keys:
        augment |= dict.fromkeys(COLOURS, 0.0) | (COLOUR_AUG if keys["color_aug"] else {})
    if "random_crop" in keys:
        augment["crop"] = "random" if keys["random_crop"] else "centre"
    if range := keys.get("face_crop_aug_range"):
        if len(range) != 2:
            place = f"{where}: face_crop_aug_range"
            raise UserError(f"{range!r} are not two numbers", where=place, fix="write both: [2.0, 4.0]")
        augment["crop"], face = "face", {"closest": range[0], "widest": range[1]}
    return augment, face


def _is_taken(key: str, value: Any) -> bool:
    return key in TAKEN and not (key == "token_warmup_step" and 0 < value < 1)


def _find_counterpart(key: str) -> str:
    options = [one for section in SECTIONS.values() for one in section]
    option = next((one for one in options if {key, f"--{key}"} & set(one.theirs)), None)
    if option is None:
        return "nothing here"
    return ", ".join(option.ours) or option.remark

"""What the numbers in a model's configs may be: one beyond all reason would hang or break what is built by it."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.console.errors import UserError
from lorakiln.families.model_source import read_config

WIDTH, LAYERS, LISTED = 100_000, 128, 32
# Least and most; of whole numbers, unless an end is written as a float. Lists of such numbers have them, too.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "hidden_size",
            "intermediate_size",
            "projection_dim",
            "max_position_embeddings",
            "cross_attention_dim",
            "block_out_channels",
            "in_channels",
            "out_channels",
            "latent_channels",
            "norm_num_groups",
            "attention_head_dim",
            "num_attention_heads",
            "sample_size",
            "image_size",
            "patch_size",
            "encoder_hidden_size",
            "image_text_hidden_size",
            "num_channels",
            "addition_time_embed_dim",
            "projection_class_embeddings_input_dim",
            "num_train_timesteps",
            "num_key_value_heads",
        ),
        (1, WIDTH),
    ),
    **dict.fromkeys(("num_hidden_layers", "layers_per_block", "transformer_layers_per_block"), (1, LAYERS)),
    "vocab_size": (1, 10_000_000),
    "steps_offset": (0, 1000),
    # Begin, end and a token between; where none is known transformers writes 10^30.
    "model_max_length": (3, 10**31),
    "beta_start": (0.0, 0.999),
    "beta_end": (0.0, 0.999),
    "trained_betas": (0.0, 1.0),
    "scaling_factor": (1e-6, 1e6),
    "shift_factor": (-1e6, 1e6),
    "layer_norm_eps": (0.0, 1.0),
    "norm_eps": (0.0, 1.0),
}
LONG = {"trained_betas": WIDTH}  # a number for every step


def read_values(file: Path) -> dict[str, Any]:
    """`read_config` of a part or a scheduler, whose values pass `check_values`."""
    config = read_config(file)
    check_values(config, file)
    return config


def check_values(config: Mapping[str, Any], where: Path) -> None:
    """Raise UserError if a config holds numbers that no model has: text for a number, NaN, a billion of layers.

    Args:
        config: what `read_config` has read from `where`, nested ones included; what is null or unknown may be anything
            but NaN or infinite.
    """
    for path, key, value in _values(config, ""):
        low, high = RANGES.get(key, (-math.inf, math.inf))
        whole = isinstance(low, int)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, list):
            wrong, wanted = len(value) > LONG.get(key, LISTED), f"a list of {LISTED} numbers at most"
        elif key in RANGES:
            wanted = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"
            wrong = not number or not low <= value <= high or (whole and value != int(value))
        else:
            wrong, wanted = number and not math.isfinite(value), "a finite number"
        if wrong:
            shown = f"{len(value)} of them" if isinstance(value, list) else repr(value)[:60]
            fix = "the model's config is damaged or was tampered with: download it again"
            raise UserError(f"{path} is {shown}, expected {wanted}", where=where, fix=fix)


def check_folder(folder: Path) -> None:
    """Check the files of a local folder that a library is to open: regular ones, and reasonable values in config.json.

    Raises:
        UserError: see `file_safety.check_regular` and `check_values`.
    """
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            check_regular(path)
    if (folder / "config.json").exists():
        read_values(folder / "config.json")


def _values(value: Any, path: str, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, the nearest key, value) of all lists, and of all that is neither a list nor an object nor null."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _values(one, f"{path}.{name}" if path else str(name), str(name))
        return
    if value is None:
        return
    if isinstance(value, list):
        if key in RANGES:
            yield path, key, value
        for place, one in enumerate(value):
            yield from _values(one, f"{path}[{place}]", key)
        return
    yield path, key, value

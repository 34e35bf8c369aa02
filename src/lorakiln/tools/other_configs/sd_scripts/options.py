"""What every subject needs of the program's options."""

import ast
import json
from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.schema.other_trainers.sd_scripts import SECTIONS
from lorakiln.tools.other_configs.imported import Imported, index_options, read_value

# Takes an option's value, with all that is given.
Converter = Callable[[Imported, Any, Mapping[str, Any]], None]
OPTIONS = index_options(SECTIONS)
# What the program does where an option is not given, and we do otherwise.
DEFAULTS = {"network_dim": 4, "network_alpha": 1, "learning_rate": 2e-6, "train_batch_size": 1, "max_train_steps": 1600}
BUCKETS = {"prepare.bucket.min": 256, "prepare.bucket.max": 1024, "prepare.bucket.step": 64}


def ignore(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """What is told elsewhere, or is what happens here anyway."""


def read_pairs(value: Any) -> dict[str, Any]:
    """`a=1 b=2`, ["a=1"], {"a": 1} or the JSON of one, as networks' and optimizers' arguments are given."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return dict(json.loads(value))
    if isinstance(value, dict):
        return value
    words = value.split() if isinstance(value, str) else value or []
    return {name: one for name, _, one in (str(word).partition("=") for word in words) if name}


def read_literal(value: Any) -> Any:
    """A number, a word, or a list of them as "0.9, 0.99" or "(0.9, 0.99)"."""
    if isinstance(value, str) and "," in value:
        found = ast.literal_eval(value)
        return list(found) if isinstance(found, tuple) else found
    return read_value(value)

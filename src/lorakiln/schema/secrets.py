"""Keys and passwords are refused in the config: it goes into outputs, logs, trackers and git."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lorakiln.console.errors import ConfigError

# Environment variables whose values are secret, by a part of their name; short values would match by chance.
NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
SHORTEST = 12
KINDS = {
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "a W&B key": re.compile(r"\bwandb_v\d_[A-Za-z0-9_]{20,}|\blocal-[0-9a-f]{40}"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"),
    "an AWS key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in an address": re.compile(r"\w+://[^/\s:@]+:[^/\s:@]+@"),
}


def check_no_secrets(config: Mapping[str, Any]) -> None:
    """Raise ConfigError that names the settings, and never their values, which look like or are known secrets."""
    known, problems = _known(), []
    for path, text in _texts(config):
        kinds = [kind for kind, pattern in KINDS.items() if pattern.search(text)]
        kinds += [f"the value of the environment's {name}" for name, value in known.items() if value in text]
        if kinds:
            problems.append(f"{path}: holds {kinds[0]}")
    if problems:
        fix = "take it out, and give it in the environment or by the tool's own login; renew it if it was committed"
        raise ConfigError(problems, fix=fix)


def mask_secrets(text: str) -> str:
    """The text with *** for what looks like or is known to be secret: for messages that repeat what was given."""
    for value in _known().values():
        text = text.replace(value, "***")
    for pattern in KINDS.values():
        text = pattern.sub("***", text)
    return text


def _known() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if NAMES.search(name) and len(value) >= SHORTEST}


def _texts(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from _texts(value, f"{path}.{number}")

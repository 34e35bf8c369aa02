"""The report: lines for people and JSON for programs, without what is nobody else's business."""

import getpass
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.doctor.check import Check
from lorakiln.schema.secrets import mask_secrets

# Whose addresses may stand in a report; others, such as a company's mirror, may not.
PUBLIC = ("pytorch.org", "huggingface.co", "github.com", "wandb.ai")
ADDRESS = re.compile(r"\b\w+://([^\s/:'\")\]]+)[^\s'\")\],;]*")
# A path from the root, but for what belongs to an address or begins with a word's own slash.
ABSOLUTE = re.compile(r"(?<![\w:/.<>~-])/(?:[^\s/:'\"(),;]+/)*[^\s/:'\"(),;]+")
SHORTEST = 4  # letters of a host's or user's name; shorter ones stand in other words


class Redaction:
    """Takes private words out of texts: folders, host and user names, tokens, addresses that are not public.

    Args:
        words: what stands for what, beside the home, the host and the user: {"/data/acme": "<base>"}.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        names = {socket.gethostname(): "<host>", socket.gethostname().partition(".")[0]: "<host>"}
        names |= {_user(): "<user>"} if _user() != "root" else {}
        self._paths = {**words, str(Path.home()): "<home>", os.getcwd(): "<folder>"}
        self._names = {name: shown for name, shown in names.items() if len(name) >= SHORTEST}

    def __call__(self, data: Any) -> Any:
        """`data`, JSON-able, with every text in it made public."""
        if isinstance(data, str):
            return self._text(data)
        if isinstance(data, Mapping):
            return {key: self(value) for key, value in data.items()}
        return [self(value) for value in data] if isinstance(data, list | tuple) else data

    def _text(self, text: str) -> str:
        text = mask_secrets(text)
        for path in sorted(self._paths, key=len, reverse=True):
            if len(path) > 1:
                text = text.replace(path, self._paths[path])
        text = ADDRESS.sub(_public_address, text)
        text = ABSOLUTE.sub("<path>", text)
        for name, shown in self._names.items():
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown, text)
        return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in some containers
        return ""


def _public_address(match: re.Match[str]) -> str:
    host = match[1].lower()
    return match[0] if any(host == one or host.endswith(f".{one}") for one in PUBLIC) else "<address>"


def is_well(checks: Sequence[Check]) -> bool:
    """Whether nothing is wrong; what was not tried is not known to be well."""
    return all(check.status in ("ok", "warning") for check in checks)


def format_summary(checks: Sequence[Check]) -> str:
    """The last line."""
    counts = Counter(check.status for check in checks)
    told = [f"{counts[status]} {status}" for status in ("ok", "warning", "wrong", "skipped") if counts[status]]
    return f"{'all is well' if is_well(checks) else 'something is wrong'}: {', '.join(told)}"


def to_data(checks: Sequence[Check], request: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says, for programs.

    Args:
        request: the command's options.
    """
    return {"well": is_well(checks), "asked": dict(request), "checks": [vars(check) for check in checks]}


def format_report(checks: Sequence[Check], request: Mapping[str, Any]) -> str:
    """The lines, and the same as JSON below them: one file to attach."""
    lines = [*map(str, checks), format_summary(checks), "", json.dumps(to_data(checks, request), indent=1)]
    return "\n".join(lines) + "\n"

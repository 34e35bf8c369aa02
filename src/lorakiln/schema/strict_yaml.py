"""YAML that people write by hand: plain data, every key once, no aliases, not large; and YAML that all readers read
alike.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.console.errors import UserError

LARGEST = 1_000_000  # bytes


class _Loader(yaml.SafeLoader):
    """Refuses what PyYAML lets pass: of a key given twice the first would be lost, and aliases of aliases explode."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark)
            seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that only others than PyYAML take for numbers: YAML 1.2 (DVC) and OmegaConf do "1e3"."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(e[-+]?[0-9]+)?|0o[0-7]+)$", re.IGNORECASE),
    list("-+.0123456789"),
)


def dump_yaml(data: Any, width: int = 80) -> str:
    """Plain data as YAML, keys in their order, in which a text stays a text for DVC, OmegaConf and PyYAML."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises:
        UserError: it is missing, a pipe or a device, too large, no UTF-8, no YAML of this kind, or no mapping.
    """
    check_regular(path)
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise UserError(f"{len(content):,} bytes are no settings", where=path, fix="restore the file")
        data = yaml.load(content.decode("utf-8-sig"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, fix="restore the file") from error
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", where=path, fix="save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date, for one
        raise UserError(f"not readable as YAML: {' '.join(str(error).split())}", where=path, fix="mend it") from error
    if not isinstance(data, dict):
        raise UserError("not a list of settings with names", where=path, fix="write `name: value` lines")
    return data

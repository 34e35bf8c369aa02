"""What DVC keeps elsewhere, and of which only the pointer is here: NAME.dvc beside where NAME would be."""

from pathlib import Path

import yaml

from lorakiln.console.errors import UserError


def is_unpulled(path: Path) -> bool:
    """Whether DVC knows a file or folder that is not here."""
    return not path.exists() and path.with_name(path.name + ".dvc").exists()


def check_pulled(path: Path) -> None:
    """Raise UserError if only the pointer of a file or folder is here, with the command that fetches it."""
    if is_unpulled(path):
        fix = f"run `dvc pull {path}.dvc`"
        raise UserError("only its DVC pointer is here, not what it stands for", where=path, fix=fix)


def is_outdated(path: Path, now: str | None) -> bool:
    """Whether DVC knows a folder, and as another content than it has.

    Args:
        now: the content's hash as DVC writes it (`FileListing.compute_dvc_hash`); None where it cannot be told.
    """
    try:
        (out,) = yaml.safe_load(path.with_name(path.name + ".dvc").read_text(encoding="utf-8"))["outs"]
        return bool(out["hash"] == "md5" and now and out["md5"] != now)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # no pointer, or none of this kind: DVC tells
        return False

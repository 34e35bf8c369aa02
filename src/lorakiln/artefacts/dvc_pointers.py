"""What DVC keeps elsewhere, and of which only the pointer is here: NAME.dvc beside where NAME would be."""

from pathlib import Path

from lorakiln.console.errors import UserError


def is_unpulled(path: Path) -> bool:
    """Whether DVC knows a file or folder that is not here."""
    return not path.exists() and path.with_name(path.name + ".dvc").exists()


def check_pulled(path: Path) -> None:
    """Raise UserError if only the pointer of a file or folder is here, with the command that fetches it."""
    if is_unpulled(path):
        fix = f"run `dvc pull {path}.dvc`"
        raise UserError("only its DVC pointer is here, not what it stands for", where=path, fix=fix)

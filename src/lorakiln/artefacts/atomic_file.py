"""The name under which a file is written before it is whole."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` that no other file has, to be renamed to `path`; nothing is left there.

    It ends in ".part". A kill leaves it behind, since it is nobody else's to overwrite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    while beside.exists():
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield beside
    finally:
        beside.unlink(missing_ok=True)

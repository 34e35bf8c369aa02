"""A promoted LoRA on the way back: its files are what was promoted, and what one does with them next."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lorakiln.artefacts.hashing import hash_file
from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.imported import TRAIN_NAME, name_experiment
from lorakiln.tools.promotion import EXPERIMENT, Origin

SHORT = 16  # hex digits of a hash that are told


def check_files(folder: Path, told: Mapping[str, Any], where: str) -> Origin:
    """What made the files of a folder, once each is what was promoted.

    Args:
        told: the facts of their version.

    Raises:
        UserError: one is missing, is too much or differs, or the version was not promoted.
    """
    try:
        origin = Origin.model_validate(told)
    except ValidationError as error:
        fix = "promote it: `lorakiln promote FILE NAME`"
        raise UserError("nothing tells what its files hold: it was not promoted", where=where, fix=fix) from error
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if other := sorted(there ^ set(origin.files)):
        what = f"its files are not those that were promoted: {', '.join(other)}"
        raise UserError(what, where=where, fix="promote it again")
    for name, digest in origin.files.items():
        if (found := hash_file(folder / name)) != digest:
            raise UserError(
                f"{name} is not what was promoted: its SHA-256 is {found}, and was {digest}",
                where=where,
                fix="fetch it again; if it stays so, it was changed there: promote it again",
            )
    return origin


def list_next(origin: Origin, folder: Path, name: str) -> list[str]:
    """What is known of a fetched file and what to do with it, a line each.

    Args:
        name: under which it was promoted.
    """
    file = shlex.quote(str(folder / origin.file))
    base = " ".join(one for one in (origin.base_name, f"({origin.base})", _short(origin.base_hash)) if one)
    lines = [f"SHA-256      {origin.files[origin.file]}, as it was promoted", f"base         {base}"]
    if origin.dataset_hash:
        lines.append(f"pictures     {origin.dataset_name or 'not named'}, {_short(origin.dataset_hash)}")
    if origin.trigger:
        lines.append(f"trigger      {origin.trigger}")
    if origin.recommended:
        lines.append(f"weight       {origin.recommended.weight:g}")
    lines.append(f"compare it   lorakiln compare {file} FILE +experiment=NAME")
    return [*lines, *_list_making(origin, folder, name)]


def _list_making(origin: Origin, folder: Path, name: str) -> list[str]:
    if EXPERIMENT not in origin.files:
        return ["again        not by us: the file does not tell its settings"]
    experiment = name_experiment(name)
    commands = [f"cp {shlex.quote(str(folder / EXPERIMENT))} conf/experiment/{experiment}.yaml"]
    commands.append(TRAIN_NAME.replace("NAME", experiment))
    if origin.commit:
        commands.insert(0, f"git checkout {origin.commit}")
    lines = [f"make it again  {' && '.join(commands)}"]
    doubts = list_warnings(origin)
    same = f"the same bytes, on {origin.device} with {origin.threads} threads and its libraries (provenance.json)"
    return [*lines, f"  the bytes may be others: {'; '.join(doubts)}" if doubts else f"  {same}"]


def list_warnings(origin: Origin) -> list[str]:
    """Why the same settings need not give the same bytes."""
    doubts = []
    if origin.repeats is None:
        doubts.append("how it was exported is not known")
    elif not origin.repeats:
        doubts.append("it tells when it was trained (export.timestamps)")
    if origin.commit is None:
        doubts.append("the commit is not known")
    elif origin.touched:
        doubts.append("files of that commit were changed")
    return doubts


def _short(digest: str | None) -> str | None:
    return digest and digest[:SHORT]

"""What a command is to write: refused before any work where it cannot, or should not, be written."""

import os
from pathlib import Path

import torch

from lorakiln.artefacts.tensor_files import DTYPES
from lorakiln.console.errors import UserError
from lorakiln.families.model_source import SINGLE_FILES
from lorakiln.lora_files.writing import FORMS, Form, check_target


def check_lora_target(out: Path, form: str, precision: str | None, overwrite: bool) -> tuple[Form, torch.dtype | None]:
    """The form and dtype meant, once it is clear that `out` can be written."""
    if form not in FORMS:
        raise UserError(f"{form!r} is no form", where="--to", fix=f"known: {', '.join(FORMS)}")
    dtype = parse_dtype(precision)
    check_target(out, form)
    check_free(out, overwrite, folder=form == "peft")
    return form, dtype


def check_merged_target(out: Path, source: Path, precision: str | None, overwrite: bool) -> torch.dtype | None:
    """The dtype meant, once it is clear that a base model in the layout of `source` can be written to `out`."""
    dtype = parse_dtype(precision)
    if source.is_file():
        check_target(out, "kohya")
    elif source.is_dir() and out.suffix.lower() in SINGLE_FILES:
        fix = "give OUT no ending; `lorakiln convert` makes a single file of a folder"
        raise UserError("a folder is written, as the base is one", where=out, fix=fix)
    check_free(out, overwrite, folder=source.is_dir())
    return dtype


def check_base_target(out: Path, precision: str | None, overwrite: bool) -> torch.dtype | None:
    """The dtype meant, once it is clear that a base model, as a file or a folder by its ending, can be written."""
    dtype, single = parse_dtype(precision), out.suffix.lower() == ".safetensors"
    check_target(out, "peft")
    # A folder may be called v1.5, but what looks like a file's ending is more likely a mistyped one.
    if not single and len(out.suffix) > 3 and out.suffix[1:].isalpha():
        fix = "end it in .safetensors for a single file, or in nothing for a folder"
        raise UserError(f"{out.suffix} is no ending that is known", where=out, fix=fix)
    check_free(out, overwrite, folder=not single)
    return dtype


def parse_dtype(precision: str | None) -> torch.dtype | None:
    """The dtype of a name, None for none; UserError if there is no such."""
    if precision is not None and precision not in DTYPES:
        raise UserError(f"{precision!r} is no precision", where="--precision", fix=f"known: {', '.join(DTYPES)}")
    return None if precision is None else DTYPES[precision]


def check_free(out: Path, overwrite: bool, folder: bool) -> None:
    """Refuse what is there already, and a place where nothing may be written; with --overwrite a folder takes the place
    of a folder and a file that of a file.
    """
    if out.exists() and not overwrite:
        raise UserError("is there already", where=out, fix="give --overwrite, or another name")
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise UserError("is a file, so that nothing can be in it", where=above, fix="give another name")
    if not os.access(above, os.W_OK | os.X_OK):
        fix = "change the folder's permissions, or write elsewhere"
        raise UserError("nothing may be written in it", where=above, fix=fix)
    if out.exists() and out.is_dir() != folder:
        is_there, written = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise UserError(f"is a {is_there}, and a {written} is written", where=out, fix="give another name")

"""`lorakiln compare`: LoRA files side by side, with the pictures and prompts of an experiment."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    from lorakiln.compare.entrants import Named
    from lorakiln.compare.stage import Compared
    from lorakiln.schema.whole_config import Config

CONF = Path("conf")
OVERRIDE = re.compile(r"[\w./@+~-]+=.*|~[\w./@-]+", re.DOTALL)
MOST_NAMES = 3  # of files in a folder's name
Given = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE[:WEIGHT][=WORDS]... +experiment=NAME",
        help="files, WORDS being a file's trigger words; then settings, as `python -m train` takes them",
    ),
]


def compare(
    given: Given,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="[runs/compared/<the files' names>]")] = None,
) -> None:
    """Draw with several LoRA files, ours or not, from the same prompts and seeds, and say which is worth more."""
    files, overrides = split_arguments(given)
    config = compose(overrides)
    from lorakiln.compare.stage import PAGE
    from lorakiln.compare.table import format_table

    out = out or Path("runs/compared") / name_folder(files)
    compared = run_comparison(files, config, out)
    print(format_table(compared.measured, compared.verdict), end="")
    print(f"pictures: {out / PAGE}", flush=True)


def run_comparison(files: Sequence["Named"], config: "Config", out: Path) -> "Compared":
    """Compare the files with the pictures and prompts of an experiment."""
    from lorakiln.compare import compare_files
    from lorakiln.compare.entrants import read_entrants
    from lorakiln.families.prompt_encoding import PromptEncoding
    from lorakiln.runs import make_dataset

    trigger = config.caption.trigger
    entrants = read_entrants(files, config.model, trigger)
    captioned = make_dataset(config) / "captioned"
    encoding = PromptEncoding.of(config.encode)
    return compare_files(entrants, captioned, out, config.evaluate, config.model, trigger, encoding)


def split_arguments(given: Sequence[str]) -> tuple[list["Named"], list[str]]:
    """The files, each with its weight and its trigger words; and the settings that are changed.

    Raises:
        UserError: a file is not there, or a weight is no number.
    """
    from lorakiln.compare.entrants import Named
    from lorakiln.tools.weighted_file import parse_named, parse_weighted

    files, overrides = [], []
    for text in given:
        path, words = parse_named(text)
        if OVERRIDE.fullmatch(text) and path.suffix != ".safetensors" and not path.exists():
            overrides.append(text)
            continue
        file, weight = parse_weighted(str(path))
        if not file.exists():
            raise UserError("no such file", where=file, fix="name a LoRA file, such as outputs/lora/cat.safetensors")
        files.append(Named(file, weight, words))
    return files, overrides


def compose(overrides: list[str]) -> "Config":
    """The experiment's settings.

    Raises:
        UserError: there is no conf/, or they do not compose.
    """
    from hydra_plugins.lorakiln_conf.composing import compose_config
    from lorakiln.schema.whole_config import check_whole

    if not CONF.is_dir():
        raise UserError("no such folder", where=CONF, fix="run this in the project's folder, where conf/ lies")
    if not any("experiment=" in one for one in overrides):
        fix = "add +experiment=NAME, one of conf/experiment: its prompts are drawn, its pictures compared with"
        raise UserError("no experiment is named", fix=fix)
    return check_whole(compose_config(overrides))


def name_folder(files: Sequence["Named"]) -> str:
    """A folder's name that tells the files."""
    names = [one.file.stem if one.weight == 1 else f"{one.file.stem}-{one.weight:g}" for one in files]
    more = f"-and-{len(names) - MOST_NAMES}-more" if len(names) > MOST_NAMES else ""
    return re.sub(r"[^\w.-]+", "_", "-vs-".join(names[:MOST_NAMES]))[:120] + more

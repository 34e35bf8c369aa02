"""`lorakiln new`: a dataset and an experiment of a folder of pictures."""

import shlex
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer

from lorakiln.cli.options import MODELS
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.tools.subjects import Subject


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the dataset and of the experiment: my_dog")],
    pictures: Annotated[Path, typer.Option(metavar="FOLDER", help="with your pictures, and captions if there are any")],
    base: Annotated[
        str, typer.Option(help=f"{', '.join(MODELS)}, another of conf/model, a .yaml file, a folder, file or hub id")
    ] = "sd15",
    kind: Annotated[Subject | None, typer.Option(help="what is to be learned [by how many pictures there are]")] = None,
    trigger: Annotated[
        str | None, typer.Option(help="the words for it [what captions have in common, or 'sks' and the name]")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="links to the pictures, not copies")] = False,
) -> None:
    """Make a dataset and an experiment of a folder of pictures, with steps, rank and rate for so many, and why."""
    from lorakiln.artefacts.json_files import write_text
    from lorakiln.tools.model_settings import find_settings_of
    from lorakiln.tools.new_dataset import CONF, find_dataset, format_dataset, locate_raw, look_through, take_in
    from lorakiln.tools.other_configs.imported import TRAIN_NAME, name_experiment
    from lorakiln.tools.output_targets import check_free
    from lorakiln.tools.proposal import propose

    raw, experiment = locate_raw(name), name_experiment(name, unnamed="dataset")
    out = CONF / "experiment" / f"{experiment}.yaml"
    if experiment != name:  # which is a folder's: another folder's may come to the same
        numbered = (out.with_stem(f"{experiment}_{number}") for number in count(2))
        out = next(path for path in chain([out], numbered) if not path.exists() or find_dataset(path) == name)
    command = TRAIN_NAME.replace("NAME", out.stem)
    there = raw.exists() and pictures.exists() and raw.samefile(pictures)
    if not there and raw.exists():
        raise UserError("is there already", where=raw, fix=f"take another NAME, or --pictures {raw} as it is")
    if out.exists():
        raise UserError("is there already", where=out, fix="take another NAME")
    check_free(out, overwrite=False, folder=False)
    facts, contents = look_through(pictures, name, link and not there)
    proposal = propose(facts, base, find_settings_of(base), CONF, kind, trigger)
    if not there:
        take_in(pictures, raw, link)
    write_text(out, proposal.format_experiment(command))
    how = "as they are" if there else "linked" if link else "copied"
    print(
        f"{escape_line(str(raw))}: {format_count(facts.pictures, 'picture')}, {how}; {facts.captioned} "
        "with captions of their own"
    )
    for one in contents.bad[:5]:
        print(f"  not used: {escape_line(one.source)}: {one.reason}; {one.fix}")
    if len(contents.bad) > 5:
        print(f"  and {len(contents.bad) - 5} more")
    print(f"{out}: a {proposal.kind} on {base}")
    for line in proposal.describe():
        print(f"  {escape_line(line)}")
    print(f"next: {command}")
    print(
        f"or by DVC: `experiment: {out.stem}` and `{escape_line(format_dataset(name))}` in params.yaml, "
        f"`dvc add {escape_line(shlex.quote(str(raw)))}`, then `dvc repro`"
    )

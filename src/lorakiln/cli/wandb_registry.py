"""`lorakiln promote` and `lorakiln fetch`: LoRA files under names that a team shares, in W&B's registry."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.cli.options import Overwrite, print_indented
from lorakiln.console.terminal_text import escape_text

if TYPE_CHECKING:
    from lorakiln.tracking.wandb_registry import Place, Version

LATEST = "latest"
Registry = Annotated[str, typer.Option(metavar="NAME", help="as W&B's pages call it")]
Organization = Annotated[str | None, typer.Option(metavar="NAME", help="whose registry it is [the account's own]")]
Entity = Annotated[str | None, typer.Option(metavar="TEAM", help="the team, or the account [the account's default]")]


def promote(
    what: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="a LoRA file, an export's folder or a run's")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="to be found by")],
    alias: Annotated[
        list[str] | None, typer.Option(metavar="ALIAS", help="such as production; may be given several times")
    ] = None,
    registry: Registry = "model",
    organization: Organization = None,
    entity: Entity = None,
    project: Annotated[str, typer.Option(help="of a file's record, where no run of W&B made it")] = "lorakiln",
) -> None:
    """Put a LoRA into W&B's registry under a name, with its settings and what it was made by."""
    from lorakiln.tools.promotion import check_base, find_chosen, write_files
    from lorakiln.tracking.private_settings import remove_words
    from lorakiln.tracking.temporary_files import temporary_files_in

    chosen = find_chosen(what)
    home = Path(os.environ.get("WANDB_DIR") or chosen.tracker.get("folder") or ".")
    with temporary_files_in(home / "wandb"):
        from lorakiln.tracking.wandb_registry import Place, check_alias, check_online, find, put

    place = Place(name, registry, organization, entity)
    for one in alias or []:
        check_alias(one, "--alias")
    check_online()
    with tempfile.TemporaryDirectory() as folder:
        files, origin = write_files(chosen, name, Path(folder))
        if newest := find(place, LATEST):
            check_base(origin, newest.facts, name)
        facts = origin.to_dict()
        record = chosen.tracker if chosen.tracker.get("url") else {"project": project}
        if not record.get("upload_images", True):
            facts = remove_words(facts)
        version = put(place, files, facts, alias or [], record, home)
    print(escape_text(f"{chosen.file} -> {_tell(place, version)}"))
    print_indented([*filter(None, [version.address]), f"lorakiln fetch {name}:{version.number} --out FOLDER"])


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME[:ALIAS]", help="ALIAS may be a version, such as v3 [latest]")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="for the LoRA, its settings and its provenance")],
    registry: Registry = "model",
    organization: Organization = None,
    entity: Entity = None,
    overwrite: Overwrite = False,
) -> None:
    """Get a LoRA that was promoted by its name, with the experiment that makes it again; each file is checked."""
    from lorakiln.artefacts.folders import replacing
    from lorakiln.tools.fetching import check_files, list_next
    from lorakiln.tools.output_targets import check_free
    from lorakiln.tracking.wandb_registry import Place, check_alias
    from lorakiln.tracking.wandb_registry import fetch as fetch_version

    check_free(out, overwrite, folder=True)
    plain, _, alias = name.partition(":")
    place = Place(plain, registry, organization, entity)
    check_alias(alias or LATEST, "NAME:ALIAS")
    with replacing(out) as fresh:
        version = fetch_version(place, alias or LATEST, fresh)
        origin = check_files(fresh, version.facts, f"{plain}:{version.number}")
    print(escape_text(f"{_tell(place, version)} -> {out}"))
    print_indented(list_next(origin, out, plain))


def _tell(place: "Place", version: "Version") -> str:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    return f"{place.name}:{version.number}{aliases} in the registry {place.registry}"

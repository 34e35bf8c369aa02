"""`lorakiln import`: an experiment of what another program was told."""

from pathlib import Path
from typing import Annotated

import typer

from lorakiln.cli.options import Overwrite
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line


def import_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a config, a command line, or a LoRA with its metadata")],
    name: Annotated[str | None, typer.Option(help="of the experiment [the LoRA's, or the file's]")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make an experiment of what another program was told: sd-scripts, kohya_ss, LoRA_Easy_Training_Scripts, diffusers,
    OneTrainer or ai-toolkit; or of the settings in a LoRA's metadata. Without a conf/experiment it is printed."""
    from lorakiln.artefacts.json_files import write_text
    from lorakiln.tools.other_configs.imported import TRAIN_NAME, name_experiment
    from lorakiln.tools.other_configs.translation import describe, suggest_name, translate_file
    from lorakiln.tools.output_targets import check_free

    config, imported = translate_file(file)
    name = name_experiment(name) if name else suggest_name(file, imported)
    command = TRAIN_NAME.replace("NAME", name)
    if not imported.names_pictures:
        command += " prepare.dataset=NAME"  # the config tells nothing of its pictures
    text = imported.format_experiment(
        [f"Made of {escape_line(file.name)}, a config of {config.program}.", f"  {command}"]
    )
    folder = Path("conf/experiment")
    if not folder.is_dir():
        print(text, end="")
        return
    out = folder / f"{name}.yaml"
    check_free(out, overwrite, folder=False)
    write_text(out, text)
    for line in describe(config, imported):
        print(line)
    _try_to_compose(out, name, imported.names_pictures)
    print(f"{escape_line(str(file))} -> {out}; read it, put the pictures where it says, then: {command}")


def _try_to_compose(out: Path, name: str, names_pictures: bool) -> None:
    """Compose what was written, as the training will.

    Raises:
        UserError: it would be refused.
    """
    from hydra_plugins.lorakiln_conf.composing import compose_config
    from lorakiln.schema.whole_config import check_whole

    if not Path("conf/config.yaml").is_file():  # experiments alone
        return
    try:
        check_whole(compose_config([f"+experiment={name}", *([] if names_pictures else ["prepare.dataset=any"])]))
    except UserError as error:
        fix = "mend it in that file, which holds all that was found; or in the config, and import it with --overwrite"
        raise UserError(f"is written, and would be refused: {error.what}", where=out, fix=fix) from error

"""The `lorakiln` command: what one does with LoRA files once they are there, and a look at the machine."""

import sys
from collections.abc import Callable, Mapping

import typer

from lorakiln.cli import (
    blind,
    captions,
    clean,
    compare,
    convert,
    crop,
    doctor,
    generate,
    import_config,
    lora_files,
    new,
    regularise,
    review,
    wandb_registry,
)
from lorakiln.console.errors import exit_on_user_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Inspect, convert, resize, merge, extract, try, compare and share LoRA files; import configs of other "
    "programs; begin with pictures (new); crop pictures to one size; draw regularisation pictures (regularise); change "
    "captions; review a dataset in the browser; free the cache (clean); examine the machine (doctor).",
)
# In the order in which --help lists them.
COMMANDS: Mapping[str, Callable[..., None]] = {
    "inspect": lora_files.inspect_command,
    "convert": convert.convert,
    "resize": lora_files.resize,
    "push": lora_files.push_command,
    "merge": lora_files.merge,
    "extract": lora_files.extract,
    "generate": generate.generate,
    "compare": compare.compare,
    "blind": blind.blind,
    "promote": wandb_registry.promote,
    "fetch": wandb_registry.fetch,
    "import": import_config.import_config,
    "new": new.new,
    "crop": crop.crop,
    "regularise": regularise.regularise,
    "review": review.review,
    "clean": clean.clean,
    "doctor": doctor.doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(captions.app, name="captions")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0, 1 for a mistake that is the user's to mend, 2 for wrong usage."""

    def command() -> int:
        try:
            app(arguments, prog_name="lorakiln")
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 0
        return 0

    return exit_on_user_error(command)


def entry() -> None:
    sys.exit(main())

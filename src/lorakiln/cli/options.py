"""Arguments and options that several commands take, and how they tell what they wrote."""

from pathlib import Path
from typing import Annotated

import typer

from lorakiln.console.terminal_text import escape_text
from lorakiln.families.kinds import list_versions

File = Annotated[Path, typer.Argument(metavar="FILE", help="a LoRA file")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="what to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace OUT if it is there")]
Precision = Annotated[str | None, typer.Option(metavar="fp32|fp16|bf16", help="of the stored weights [as they are]")]
BaseConfig = Annotated[str | None, typer.Option("--config", help="base: a folder or hub id for configs and tokenizers")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="base: read a .ckpt, tensors alone")]
WithoutEmbeddings = Annotated[
    bool, typer.Option("--without-embeddings", help="leave out words' embeddings that the file brings along")
]
MODELS = [version.model for version in list_versions() if version.model]


def print_indented(lines: list[str]) -> None:
    """What was written beside the first line, a line each; names out of files cannot reach the terminal's controls."""
    for line in lines:
        print(escape_text(f"  {line}"))

"""`lorakiln review`: a dataset looked through and corrected in the browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    from lorakiln.review.collection import Rules

RAW = Path("data/raw")
CONFIG = Path("outputs/resolved.yaml")
Port = Annotated[int, typer.Option(min=0, max=65_535, help="on this machine alone; 0: one that is free")]
# Of Stable Diffusion 1.5, where no config says another one.
RESOLUTION, LEAST, MOST, STEP = 512, 256, 1024, 64


def review(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="its name below data/raw, or its folder")],
    port: Port = 0,
    config: Annotated[
        Path, typer.Option(metavar="FILE", help="what `compose` wrote: buckets and captions are as it says")
    ] = CONFIG,
    cache: Annotated[Path, typer.Option(metavar="FOLDER", help="where small pictures are kept")] = Path(
        "cache/thumbnails"
    ),
) -> None:
    """Look through a dataset in the browser: captions, tags, crops, what is left out. It writes hand edits alone."""
    with explaining_missing_server():
        from lorakiln.review.server import Review
        from lorakiln.serving.local import serve
    from lorakiln.review.collection import open_collection
    from lorakiln.review.thumbnails import Thumbnails, check_cache

    raw = find_dataset(dataset)
    check_cache(cache, raw)
    rules = read_rules(config, raw.name)
    collection = open_collection(raw, rules)
    buckets = collection.count_buckets()
    print(
        f"review: {format_count(len(collection.pictures), 'picture')} of {raw} in "
        f"{format_count(len(buckets), 'bucket')}",
        flush=True,
    )

    def tell(address: str) -> None:
        print(f"review: open {address}\n  edits are written as they are made; Ctrl-C ends it", flush=True)

    serve(Review(collection, Thumbnails(raw, cache, rules.prepare)), port, tell)


@contextmanager
def explaining_missing_server() -> Iterator[None]:
    """Say which extra brings the libraries of a server, where they are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UserError(f"{error.name} is not installed", fix="pip install 'lorakiln[review]'") from error


def find_dataset(given: str) -> Path:
    """The folder of a dataset, by its name or its path.

    Raises:
        UserError: there is none.
    """
    found = next((path for path in (RAW / given, Path(given)) if path.is_dir()), None)
    if found is None:
        for path in (RAW / given, Path(given)):
            check_pulled(path)
        known = ", ".join(sorted(path.name for path in RAW.glob("[!.]*") if path.is_dir()))
        raise UserError(f"no dataset {given!r}", where=RAW, fix=f"datasets here: {known or 'none'}; or name a folder")
    return found


def read_rules(config: Path, name: str) -> "Rules":
    """The settings that decide what is shown: of a composed config, or those of Stable Diffusion 1.5.

    Raises:
        UserError: the config is damaged.
    """
    from lorakiln.review.collection import Rules
    from lorakiln.schema.prepare import BucketSettings, PrepareSettings
    from lorakiln.schema.strict_yaml import read_yaml
    from lorakiln.schema.whole_config import check_whole

    if not config.exists() and config == CONFIG:
        buckets = BucketSettings(min=LEAST, max=MOST, step=STEP)
        return Rules(PrepareSettings(dataset=name, resolution=RESOLUTION, bucket=buckets))
    whole = check_whole(read_yaml(config))
    return Rules(
        whole.prepare,
        whole.caption.extensions,
        whole.caption.precedence,
        Path(whole.paths.prepared),
        whole.train.batch_size,
        whole.train.validation,
    )

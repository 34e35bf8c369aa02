"""Regularisation pictures (prior preservation, arXiv 2208.12242), drawn from the base into a dataset's folder."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.json_files import write_json, write_jsonl
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.sampling import save_picture
from lorakiln.schema.model import ModelSettings
from lorakiln.sources.folder.metadata import NAME, TEXTS
from lorakiln.sources.folder.regularisation import RECORD, DrawnPictures
from lorakiln.tools.draw_request import SEEDS, DrawRequest
from lorakiln.tools.generate import draw_requests

TABLE = "metadata.jsonl"


def draw_regularisation(
    out: Path, request: DrawRequest, count: int, model: ModelSettings, precision: str = "auto"
) -> int:
    """Draw the pictures that are not there yet, each with the next seed; how many were drawn.

    Writes 0000.png, ..., regularisation.json, how they were drawn, and metadata.jsonl, their caption.

    Args:
        request: of the first.

    Raises:
        UserError: the folder holds what was drawn otherwise, or something else; the base cannot draw this.
    """
    if request.seed + count > SEEDS:
        raise UserError(f"seeds end at {SEEDS - 1}", where="--seed", fix="take a lower one")
    width, height = request.size or (model.resolution, model.resolution)
    record = DrawnPictures(
        prompt=request.prompt,
        negative=request.negative,
        base=model.path,
        base_hash=load_family(model, ()).facts["hash"],
        seed=request.seed,
        steps=request.steps,
        guidance=request.guidance,
        width=width,
        height=height,
    )
    _check_record(out, record)
    files = [out / f"{number:04}.png" for number in range(count)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if not missing:
        return 0
    requests = [
        DrawRequest(
            request.prompt,
            request.seed + number,
            steps=request.steps,
            guidance=request.guidance,
            negative=request.negative,
            size=(width, height),
        )
        for number in missing
    ]
    for index, picture, text in draw_requests(requests, model, precision=precision):
        file = files[missing[index]]
        if not (out / RECORD).exists():  # from now on there is something that it is about
            write_json(out / RECORD, record.to_dict())
        save_picture(picture, file, text)
    _write_captions(out, request.prompt, sorted(out.glob("*.png")))
    return len(missing)


def _check_record(out: Path, record: DrawnPictures) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD).is_file():
        fix = "name another folder, or remove it"
        raise UserError("is there already, and not what this command has drawn", where=out, fix=fix)
    before = DrawnPictures.read(out / RECORD)
    # Where the base lies is not what it is.
    now = record.changed(base=before.base)
    if other := [name for name, value in now.to_dict().items() if before.to_dict().get(name) != value]:
        told = ", ".join(f"{name} {before.to_dict().get(name)!r}" for name in other)
        fix = "ask for the same to go on, name another folder, or remove it"
        raise UserError(f"was drawn otherwise: with {told}", where=out / RECORD, fix=fix)


def _write_captions(out: Path, prompt: str, files: Sequence[Path]) -> None:
    write_jsonl(out / TABLE, ({NAME: file.name, TEXTS[0]: prompt} for file in files))

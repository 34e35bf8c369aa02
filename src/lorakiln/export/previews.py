"""Pictures beside the LoRA: those that training drew with it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lorakiln.artefacts.pictures import read_infotext, read_picture, read_prompt
from lorakiln.sampling import Applied, add_lora, save_picture


@dataclass(frozen=True)
class Preview:
    """A picture beside the model card.

    Attributes:
        path: relative to the card.
        prompt: what it was drawn from.
        step: of training, at which it was drawn.
    """

    path: str
    prompt: str
    step: int


def copy_previews(
    run: Path, folder: Path, name: str, step: int, most: int, used: Applied | None = None
) -> list[Preview]:
    """Copy the samples drawn at `step` to `previews/`, and the first to `<name>.png`, where A1111 and ComfyUI look.

    If none were drawn at that step, the last ones before it are taken, or else the first after it: each tells its step.

    Args:
        used: the LoRA as the samples show it, which those of its own step then name; None: they do not show it alone.

    Returns:
        one for each copy; empty if training drew none or `most` is 0.
    """
    drawn = {int(path.name.removeprefix("step-")): path for path in sorted((run / "samples").glob("step-*"))}
    if not drawn or not most:
        return []
    nearest = max((one for one in drawn if one <= step), default=min(drawn))
    previews = []
    for picture in sorted(drawn[nearest].glob("*.png"))[:most]:
        target = folder / "previews" / picture.name
        target.parent.mkdir(exist_ok=True)
        if used and nearest == step:
            save_picture(read_picture(picture), target, add_lora(read_infotext(picture), used))
        else:
            shutil.copyfile(picture, target)
        previews.append(Preview(target.relative_to(folder).as_posix(), read_prompt(picture), nearest))
    if previews:
        shutil.copyfile(folder / previews[0].path, folder / f"{name}.png")
    return previews

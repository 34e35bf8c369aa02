"""Pictures beside the LoRA: those that training drew last."""

import shutil
from pathlib import Path


def copy_previews(run: Path, folder: Path, name: str, most: int) -> list[str]:
    """Copy the last samples to `previews/`, and the first of them to `<name>.png`, where A1111 and ComfyUI look.

    Returns:
        the copies' paths, relative to `folder`; empty if training drew none or `most` is 0.
    """
    steps = sorted((run / "samples").glob("step-*"))
    pictures = sorted(steps[-1].glob("*.png"))[:most] if steps else []
    copies = []
    for picture in pictures:
        target = folder / "previews" / picture.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, target)
        copies.append(target.relative_to(folder).as_posix())
    if pictures:
        shutil.copyfile(pictures[0], folder / f"{name}.png")
    return copies

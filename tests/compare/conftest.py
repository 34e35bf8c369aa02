"""LoRA files of a micro base, and pictures that they are compared with, through the command."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.cli import main
from lorakiln.lora_files.writing import write_lora
from tests.choose.conftest import made
from tests.evaluate.conftest import judged_model, micro_clip
from tests.export.conftest import trained

__all__ = ["judged_model", "made", "micro_clip"]
PROMPTS = [f"a {colour} cat, {{trigger}}" for colour in ("red", "blue", "green", "old", "big", "small")]


class Comparing:
    """The command on files of the micro base.

    Attributes:
        folder: where the files lie, each called by a letter: a.safetensors.
        out: what is written.
    """

    def __init__(self, folder, settings):
        self.folder, self.out, self.settings = folder, folder / "out", settings

    def __call__(self, *arguments, command="compare"):
        """The exit status; an argument that begins with a file's letter alone is that file."""
        given = [str(self.folder / one) if one.split(".safetensors")[0] in "abcd" else one for one in arguments]
        return main([command, *given, *self.settings, "--out", str(self.out)])


@pytest.fixture(scope="session")
def files(tmp_path_factory, judged_model, micro_family):
    """a, b and c were made by more and more training; d is b in diffusers' names. And a raw dataset."""
    folder = tmp_path_factory.mktemp("compared")
    for letter, step in (("a", 10), ("b", 15), ("c", 20)):
        write_lora(trained(micro_family, step, alpha=400.0), folder / f"{letter}.safetensors", "kohya")
    write_lora(trained(micro_family, 15, alpha=400.0), folder / "d.safetensors", "diffusers")
    (folder / "raw/mine").mkdir(parents=True)
    draws = np.random.default_rng(0)
    for number in range(6):
        pixels = draws.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(folder / f"raw/mine/{number}.png")
        (folder / f"raw/mine/{number}.txt").write_text("sks, a red cat")
    return folder


@pytest.fixture(scope="session")
def settings(files, judged_model):
    """The experiment's, for the micro base."""
    sizes = {name: getattr(judged_model, name) for name in ("resolution", "bucket_min", "bucket_max", "bucket_step")}
    quoted = ",".join(f'"{prompt}"' for prompt in PROMPTS)
    return [
        "+experiment=smoke",
        "prepare.dataset=mine",
        "caption.trigger=sks",
        f"paths.raw={files}/raw",
        f"paths.cache={files}/cache",
        f"model.path={judged_model.path}",
        "model.vae=null",
        *(f"model.{name}={pixels}" for name, pixels in sizes.items()),
        f"model.clip.path={judged_model.clip.path}",
        f"evaluate.prompts=[{quoted}]",
        "evaluate.seeds=[0,7]",
        "evaluate.steps=1",
        "evaluate.workers=1",
        "evaluate.device=cpu",
    ]


@pytest.fixture(scope="module")
def comparing(files, settings, tmp_path_factory):
    """The command; nothing is compared yet."""
    folder = tmp_path_factory.mktemp("comparing")
    for file in files.glob("*.safetensors"):
        (folder / file.name).hardlink_to(file)
    return Comparing(folder, settings)

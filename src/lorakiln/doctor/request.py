"""What the examination is asked about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.doctor.random_base import KINDS, write_random_base
from lorakiln.families import load_family
from lorakiln.schema.model import ModelSettings
from lorakiln.tools.model_settings import find_model_settings, find_settings_of, is_named


@dataclass(frozen=True)
class ExaminationRequest:
    """What is examined.

    Attributes:
        base: a model's name in conf/model, or a .yaml file; else a folder, a file or a hub id. None: the embedded one.
        random: one of `KINDS`, made with random weights; `base` is then None.
        micro_batch: pictures at once in training.
        cpu: leave the GPU alone.
    """

    base: str | None = None
    random: str | None = None
    micro_batch: int = 1
    checkpointing: bool = False
    cpu: bool = False

    @property
    def named(self) -> bool:
        """Whether `base` is the name of known settings, and no path."""
        return self.base is not None and is_named(self.base)

    def public(self) -> dict[str, Any]:
        """For the report: a folder's name, or a hub id of one's own, is nobody else's business."""
        known = self.base is None or (self.named and not self.base.endswith(".yaml"))
        return {**vars(self), "base": self.base if known else "<base>"}

    def private_words(self) -> dict[str, str]:
        """What stands for the base where messages name it."""
        if self.base is None or self.public()["base"] == self.base:
            return {}
        path = Path(self.base).expanduser()
        return dict.fromkeys((self.base, str(path), str(path.resolve())), "<base>")


def make_settings(request: ExaminationRequest, folder: Path) -> ModelSettings:
    """The base's settings; random weights are written to `folder` first.

    Raises:
        UserError: there is no such base.
    """
    if request.random:
        write_random_base(folder, KINDS[request.random])
        # Plain files, whatever the hub's variant is called.
        return find_model_settings(request.random, str(folder))
    return find_settings_of(request.base)


def prepare_base(request: ExaminationRequest, folder: Path) -> dict[str, Any]:
    """The base's settings and what it says of itself by its files; nothing is loaded yet."""
    model = make_settings(request, folder)
    facts = load_family(model, ()).facts
    kept = ("family", "version", "prediction_type", "hash")
    return {"model": model.model_dump(mode="json"), "facts": {key: facts[key] for key in kept}}

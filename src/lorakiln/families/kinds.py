"""What is known of every family by name, before one of its models is loaded; asked instead of naming a family."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lorakiln.console.errors import UserError
from lorakiln.families.versions import BaseVersion, Layout
from lorakiln.schema.model import FAMILIES

if TYPE_CHECKING:
    import torch

    from lorakiln.families.protocol import Family, Part
    from lorakiln.families.shared_original_names import Origin
    from lorakiln.families.weights_file import WeightsFile
    from lorakiln.schema.model import ModelSettings


class FamilyKind(Protocol):
    """What a family's folder offers: its `__init__.py`, which imports torch only in functions that need it.

    Attributes:
        layout: its folder in diffusers' layout.
        versions: the generations of its models, and what each is called elsewhere.
    """

    layout: Layout
    versions: Sequence[BaseVersion]

    def load(
        self,
        model: "ModelSettings",
        parts: Collection["Part"],
        device: "torch.device",
        dtype: "torch.dtype",
        text_dtype: "torch.dtype",
    ) -> "Family":
        """See `families.load_family`."""
        ...

    def version_of(self, config: Mapping[str, Any], prediction: str) -> BaseVersion | None:
        """By the config.json of a network and what it predicts; None: it is no network of this family's."""
        ...

    def recognise_file(self, checkpoint: "WeightsFile") -> BaseVersion | str | None:
        """The version of a whole model in a single file, the first of those that look alike; or, in words, what else
        the file is; None: nothing is known of it.
        """
        ...

    def recognise_folder(self, root: Path) -> bool | str:
        """Whether a folder in diffusers' layout is of this family; or, in words, what else it is."""
        ...

    def network_origin(self, config: Mapping[str, Any], names: Collection[str]) -> Callable[[str], "Origin"]:
        """Where each tensor of the network stands in single files, by its name in folders.

        Args:
            config: its config.json.
            names: of all its tensors.
        """
        ...

    def kohya_name(self, module: str) -> str:
        """kohya's name of a canonical module; ValueError if it has none."""
        ...

    def module_of(self, name: str) -> str | None:
        """The canonical module of a layer in kohya's spelling; None if it is no name of this family's."""
        ...

    def known(self, module: str) -> bool:
        """Whether a canonical name may be one of this family's, of whatever size."""
        ...

    def suggest_targets(self, modules: Iterable[str]) -> str | list[str]:
        """`train.adapter.targets` that mean these modules of the network: a preset, or endings and patterns.

        Args:
            modules: without the network's part in front, as a file's layers name them.
        """
        ...


def list_families() -> list[FamilyKind]:
    """All families, sorted by name."""
    return [FAMILIES.find(name) for name in FAMILIES.names]


def list_versions() -> list[BaseVersion]:
    """Of all families, in their families' order."""
    return [version for kind in list_families() for version in kind.versions]


def list_generations() -> dict[str, BaseVersion]:
    """One version of each generation, by the settings that suit it."""
    return {one.model: one for one in list_versions() if one.model and one.prediction != "v_prediction"}


def find_version(kohya: str, where: object = None) -> BaseVersion:
    """The version that kohya's name means, exactly.

    Raises:
        UserError: there is none.
    """
    if found := next((one for one in list_versions() if one.kohya == kohya), None):
        return found
    known = ", ".join(one.kohya for one in list_versions())
    what = f"there is no base model called {kohya!r}, by sd-scripts' ss_base_model_version"
    raise UserError(what, where=where, fix=f"known: {known}; a family's own stand in its folder, versions.py")


def guess_version(beginning: str) -> BaseVersion | None:
    """The first version of the generation that a name of kohya's tells, that of another edition included."""
    return next((one for one in list_versions() if beginning.startswith(one.kohya_stem)), None) if beginning else None


def find_version_predicting(version: BaseVersion, prediction: str) -> BaseVersion:
    """The version of the same generation that predicts this; `version` itself if none says so."""
    alike = [one for one in list_versions() if one.name == version.name and one.prediction in (None, prediction)]
    return alike[0] if alike else version


def find_family(version: BaseVersion) -> FamilyKind:
    """Its family."""
    kind: FamilyKind = FAMILIES.find(version.layout.family)
    return kind


def list_networks(family: str) -> list[str]:
    """The parts of a family's models that an adapter can be on, by their names in LoRA files, the denoiser first."""
    kind: FamilyKind = FAMILIES.find(family)
    return [kind.layout.network, *(part for part in kind.layout.networks if part != kind.layout.network)]


def find_family_by_network(network_class: str) -> FamilyKind | None:
    """The first family whose network is of a class, which those that have it treat alike."""
    return next((one for one in list_families() if one.layout.networks[one.layout.network][1] == network_class), None)


def list_adapted_parts() -> dict[str, tuple[str, str]]:
    """(library, class) of all networks that a LoRA file may adapt, by their part's name, of all families; those that
    are trained first.
    """
    layouts = [kind.layout for kind in list_families()]
    trained = {one.network: one.networks[one.network] for one in layouts}
    return trained | {part: known for one in layouts for part, known in one.networks.items() if part not in trained}


def recognise_file(checkpoint: "WeightsFile") -> BaseVersion | str:
    """What a file of weights is: a version; or, in words, what else: "an inpainting model", "a LoRA, no base model"."""
    found = [kind.recognise_file(checkpoint) for kind in list_families()]
    if version := next((one for one in found if isinstance(one, BaseVersion)), None):
        return version
    return next((one for one in found if isinstance(one, str)), "no model that is known here")


def recognise_folder(root: Path) -> FamilyKind | str:
    """The family of a folder in diffusers' layout; or, in words, what else it is."""
    found = [(kind, kind.recognise_folder(root)) for kind in list_families()]
    if mine := next((kind for kind, told in found if told is True), None):
        return mine
    return next((told for _, told in found if isinstance(told, str)), "no model that is known here")


def format_suiting_settings(some: Sequence[BaseVersion]) -> str | None:
    """The settings that suit these versions, as one writes them: "model=sd21 or model=sd21_v"; None if none do."""
    names = [f"model={one.model}" for one in some if one.model]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else next(iter(names), None)

"""A family that the project has never heard of: pixels averaged for latents, letters for prompts, three layers.

What `families.kinds.FamilyKind` asks for, and nothing that Stable Diffusion has: another network with other names,
another conditioning, other presets, another key in LoRA files.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from lorakiln.families.shared_original_names import Origin
from lorakiln.families.versions import Architecture, BaseVersion, Layout

NETWORK, PREFIX = "drawer", "lora_drawer_"
PATHS = {"stem", "blocks.0.read", "blocks.0.mix", "blocks.1.read", "blocks.1.mix", "head"}

layout = Layout("sketch", "Sketch", NETWORK, (), (), {NETWORK: ("tests.families.sketch.model", "Drawer")})
versions = (
    BaseVersion(
        name="sketch1",
        title="Sketch 1",
        layout=layout,
        architecture=Architecture("SketchPipeline", {}, {}, {}),
        kohya="sketch_v1",
        kohya_stem="sketch",
        modelspec="sketch-v1",
        modelspec_stem="sketch",
        implementation="https://example.org/sketch",
        a1111="Sketch",
        model=None,
        hub=None,
        prediction="v_prediction",
        resolution=32,
        text_width=27,
        encoder_widths=(),
    ),
)


def load(*given):
    from tests.families.sketch.model import load

    return load(*given)


def version_of(config: Mapping, prediction: str):
    return versions[0] if config.get("_class_name") == "Drawer" else None


def recognise_file(checkpoint):
    return None


def recognise_folder(root: Path) -> bool:
    return (root / NETWORK).is_dir()


def network_origin(config: Mapping, names: Collection[str]):
    return Origin


def kohya_name(module: str) -> str:
    if not known(module):
        raise ValueError(f"no layer of a sketch: {module}")
    return PREFIX + module.partition(".")[2].replace(".", "_")


def module_of(name: str) -> str | None:
    spelled = {kohya_name(f"{NETWORK}.{path}"): f"{NETWORK}.{path}" for path in PATHS}
    return spelled.get(name)


def known(module: str) -> bool:
    part, _, path = module.partition(".")
    return part == NETWORK and path in PATHS


def suggest_targets(modules: Iterable[str]) -> list[str]:
    return sorted(modules)

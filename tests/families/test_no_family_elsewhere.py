"""No code but a family's own, and the grammars of LoRA files and other programs, names a family or its network."""

import re
from pathlib import Path

from lorakiln.families.kinds import list_families
from lorakiln.schema.model import FAMILIES

SRC = Path("src/lorakiln")
OWN = ("families/sd/", "families/sdxl/", "lora_files/", "adapters/", "conf/")
# Other programs' settings, in their words.
OTHERS = ("schema/other_trainers/", "tools/other_configs/")
# sd-scripts' own words for its settings, which people bring along.
THEIRS = re.compile(r"ss_unet_lr|unetlr")
NAMES = re.compile(r"sdxl|unet", re.IGNORECASE)


def test_families_and_networks_are_named_in_their_own_folders_alone():
    files = [path for path in SRC.rglob("*.py") if not path.relative_to(SRC).as_posix().startswith(OWN + OTHERS)]
    files += Path("pipelines").glob("*.py")
    assert len(files) > 150
    found = {
        f"{path}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NAMES.search(THEIRS.sub("", line))
    }
    assert not found, "\n".join(sorted(found))


def test_the_pattern_covers_what_the_families_are_called():
    """A family that comes has to be looked for, too: its name, and its network's."""
    words = {word for kind in list_families() for word in (kind.layout.family, kind.layout.network)}
    assert [word for word in sorted(words) if not NAMES.fullmatch(word)] == ["sd"]  # two letters stand everywhere


def test_every_family_has_its_settings():
    models = {path.stem for path in Path("conf/model").glob("*.yaml")}
    for name in FAMILIES.names:
        named = {version.model for version in FAMILIES.find(name).versions if version.model}
        assert named and named <= models, name

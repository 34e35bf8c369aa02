"""The README's commands exist and mean something; its links lead somewhere."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config

PAGES = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
TEXT = Path("README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_readme_opens_with_the_two_commands():
    assert [command.split()[:2] for command in COMMANDS[:2]] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("target", [command.split()[1] for command in COMMANDS if command.startswith("make ")])
def test_make_targets_exist(target):
    done = subprocess.run(["make", "--dry-run", target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def trainings():
    shown = re.findall(r"python -m train [^`\n#]*", "\n".join(page.read_text() for page in PAGES))
    shown += [
        line.lstrip("# ").rstrip("\\ ").split("   ")[0]
        for path in Path("conf/experiment").glob("*.yaml")
        for line in path.read_text().splitlines()
        if "python -m train" in line and "or  " not in line
    ]
    # A command may go on in the next line.
    return sorted({command.rstrip("\\ ").strip() for command in shown if not re.search(r"NAME|<|\.\.\.", command)})


@pytest.mark.parametrize("command", trainings())
def test_every_shown_training_composes(command):
    words = [word for word in shlex.split(command)[3:] if word != "-m"]
    listed = [re.sub(r"=(?:choice|range)\((.*)\)$", r"=\1", word) for word in words]
    first = [re.sub(r"=([^\[{]*?),.*", r"=\1", word) for word in listed]
    check_whole(compose_config(first))


def test_the_overrides_for_a_real_base_model_compose():
    (block,) = re.findall(r"```yaml\n(overrides:.*?)```", TEXT, re.DOTALL)
    overrides = yaml.safe_load(block)["overrides"]
    config = check_whole(compose_config(["+experiment=character_r16", "prepare.dataset=my_dog", *overrides]))
    assert config.model.resolution == 512
    assert config.caption.trigger == "sks dog"
    assert "clip-vit" in config.model.clip.path


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_lock_pins_every_dependency():
    import tomllib

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (more,) = [line for line in extras["dev"] if line.startswith("lorakiln[")]
    others = [line for name in re.findall(r"\w+", more)[1:] for line in extras[name]]
    wanted = project["dependencies"] + [line for line in extras["dev"] if line != more] + others
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted}
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in Path("requirements.lock").read_text().splitlines()
    }
    assert names <= pinned, names - pinned

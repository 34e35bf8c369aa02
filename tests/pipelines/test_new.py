"""The README's two commands, from a folder of pictures to a LoRA, on the tiny base."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COMMANDS = re.search(r"## Your own pictures.*?```bash\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
# Of seconds: what is shown is which settings reach the training, not what it learns.
SHORT = ("train.steps=2", "train/trainer=cpu", "train/tracker=none", "train.samples.every=0", "evaluate.steps=1")
JUDGED = ("evaluate.seeds=[0]", "evaluate.prompts=['{trigger}, red background']", "evaluate.between=[]")


def test_two_commands_lead_from_pictures_to_a_lora(own_project, tmp_path):
    pictures = tmp_path / "my pictures"
    pictures.mkdir()
    for path in sorted((own_project.folder / "data/raw/demo_style").glob("*.png"))[:9]:
        shutil.copy(path, pictures)
    given = {"NAME": "my_dog", "FOLDER": str(pictures), "sd15": "tiny"}
    new, train = (
        [given.get(word, word.replace("NAME", "my_dog")) for word in shlex.split(line)]
        for line in COMMANDS[1].splitlines()
    )
    assert new[0] == "lorakiln"
    told = own_project.run("python", "-m", *new)
    assert told.splitlines()[-2] == f"next: {shlex.join(train)}"
    out = own_project.run(*train, *SHORT, "train.scheduler.warmup_steps=0", *JUDGED, "hydra.run.dir=runs/mine")
    assert "pictures    8 x 1 repeats, 1 held out" in out
    facts = (own_project.folder / "runs/mine/lora/facts.json").read_text()
    assert '"trigger": "sks dog"' in facts and '"rank": 16' in facts
    assert (own_project.folder / "runs/mine/lora/my_dog.safetensors").is_file()

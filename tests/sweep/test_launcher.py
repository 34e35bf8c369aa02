"""The folders of a sweep's jobs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from hydra_plugins.lorakiln_launcher.processes import ProcessesLauncher


@pytest.fixture
def launcher(tmp_path):
    with initialize_config_dir(str(Path("conf").resolve()), version_base="1.3"):
        config = compose("config", [f"hydra.sweep.dir={tmp_path}"], return_hydra_config=True)
        made = ProcessesLauncher()
        context = SimpleNamespace(config_loader=GlobalHydra.instance().config_loader())
        made.setup(hydra_context=context, task_function=None, config=config)
        yield made
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    ("own", "folder"),
    [
        (["+experiment=kinds/lora"], "kinds_lora"),
        (["+experiment=kinds/lora", "train.seed=3"], "kinds_lora,train.seed=3"),
        (["train.seed=3"], "train.seed=3"),
        ([], "7"),
    ],
)
def test_a_jobs_folder_is_named_by_what_was_swept(launcher, tmp_path, own, folder):
    """So that an experiment in a longer list is the same job: its number would be another one's."""
    overrides = own if "+experiment=kinds/lora" in own else ["+experiment=smoke", *own]
    job = launcher.job(7, overrides, own or ["smoke"])
    assert job.folder == tmp_path / folder

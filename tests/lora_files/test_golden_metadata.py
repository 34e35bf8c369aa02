"""What the shipped experiments' files say of themselves, word for word, with every base that is known here.

A word that changes on purpose changes in golden/metadata.json too: delete the file, run this test, look at the diff.
"""

import json
from pathlib import Path

import pytest

from lorakiln.facts.run import RunFacts
from lorakiln.lora_files import kohya_metadata
from lorakiln.rows import CaptionedRow
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config
from tests.export.conftest import make_rows

GOLDEN = Path(__file__).parent / "golden" / "metadata.json"
# The settings are those of conf/, which other tests read; the version is that of the release.
ELSEWHERE = {"lorakiln_settings", "lorakiln_version"}
HALF = ["train/objective=huber", "train.trainer.precision=bf16", "train.objective.noise_offset=0.05"]
RUNS = {
    "demo_style": ("demo_style", [], "sd", "sd_v1", "epsilon"),
    "character_r16": ("character_r16", [], "sd", "sd_v1", "epsilon"),
    "smoke": ("smoke", [], "sd", "sd_v1", "epsilon"),
    "sd15": ("smoke", ["model=sd15"], "sd", "sd_v1", "epsilon"),
    "sd1_v": ("smoke", [], "sd", "sd_v1_v", "v_prediction"),
    "sd21": ("smoke", ["model=sd21", *HALF], "sd", "sd_v2", "epsilon"),
    "sd21_v": ("smoke", ["model=sd21_v", "encode.clip_skip=2"], "sd", "sd_v2_v", "v_prediction"),
    "sdxl": ("smoke", ["model=sdxl", "encode.max_tokens=225"], "sdxl", "sdxl_base_v1-0", "epsilon"),
}


def facts_of(experiment, overrides, family, version, prediction):
    """facts.json of a finished run of an experiment."""
    config = check_whole(compose_config([f"+experiment={experiment}", *overrides]))
    stages = ("prepare", "caption", "encode", "model", "train")
    trigger = config.caption.trigger
    return {
        "step": config.train.steps,
        "rank": config.train.adapter.rank,
        "alpha": config.train.adapter.alpha,
        "targets": ["mid_block.attentions.0.proj_in"],
        "precision": "bf16" if "bf16" in str(overrides) else "fp32",
        "base": {
            "family": family,
            "path": config.model.path,
            "revision": "",
            "hash": "ba5e" * 16,
            "prediction_type": prediction,
            "version": version,
        },
        "dataset": {"name": "folder", "hash": "da7a" * 4, "pictures": 4, "trigger": trigger, "out_of_domain": None},
        "trigger": trigger,
        "held_out": 1,
        "timesteps": [0, 1000, 1000],
        "init_from": None,
        "libraries": {"torch": "2.13.0"},
        "adapters": [{"step": config.train.steps, "file": "adapters/last.safetensors", "validation_loss": None}],
        "settings": {stage: getattr(config, stage).model_dump(mode="json") for stage in stages},
        "convolutions": version == "sd_v2",
    }


def told(run):
    rows = [CaptionedRow(**row) for row in make_rows()]
    metadata = kohya_metadata.build_metadata(RunFacts(**facts_of(*RUNS[run])), rows, run, private=False)
    return {key: value for key, value in metadata.items() if key not in ELSEWHERE}


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps({run: told(run) for run in RUNS}, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{GOLDEN} was not there and is written: look at it")
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("run", RUNS)
def test_a_file_says_what_it_said(run, golden):
    assert told(run) == golden[run]

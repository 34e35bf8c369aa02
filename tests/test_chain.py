"""The chain of stages is the same in the package, in dvc.yaml, and behind both doors."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from lorakiln.chain import (
    CHAIN,
    DATA,
    TRAIN,
    Stage,
    list_namespaces,
    list_settings_modules,
    locate_folders,
    select_settings,
)
from lorakiln.facts import Dataset
from lorakiln.runs import run_pipeline
from lorakiln.schema.optimizers.adamw import AdamWSettings
from lorakiln.schema.whole_config import Config, Paths, check_whole
from pipelines.compose import compose_config
from tests.made_facts import DATASET

DVC = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
NAMES = [stage.name for stage in CHAIN]


def paths_of(entries: list) -> list[str]:
    """The names in conf/paths.yaml of the folders among a stage's `deps` or `outs`."""
    keys = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [found[1] for key in keys if (found := re.match(r"\$\{paths\.(\w+)\}", key))]


def test_dvc_has_the_same_stages_in_the_same_order_behind_compose():
    assert list(DVC) == ["compose", *NAMES]


@pytest.mark.parametrize("stage", CHAIN, ids=NAMES)
def test_a_stage_is_the_same_in_dvc(stage):
    entry = DVC[stage.name]
    assert sorted(paths_of(entry["deps"])) == sorted(stage.reads)
    assert paths_of(entry["outs"]) == [stage.writes]
    assert entry["params"] == [{"${paths.resolved}": list(stage.settings)}]
    assert entry["cmd"].endswith(f" -m pipelines.{stage.name}")
    assert f"outputs/.code/{stage.name}" in entry["deps"]


def test_what_a_stage_reads_was_written_before_it():
    there = {"raw"}
    for stage in CHAIN:
        assert there >= set(stage.reads) and stage.writes not in there, stage.name
        there.add(stage.writes)
    assert there <= set(Paths.model_fields)


def test_every_namespace_decides_a_stage():
    assert set(list_namespaces(CHAIN)) == set(Config.model_fields) - {"paths"}
    # In this order they are in the name of every dataset that is in a cache already.
    assert list_namespaces(DATA) == ["prepare", "caption", "encode", "model"]


@pytest.fixture
def config(tmp_path):
    raw = tmp_path / "raw"
    (raw / "demo_shapes").mkdir(parents=True)
    overrides = ["+experiment=smoke", "prepare.dataset=demo_shapes", f"paths.raw={raw}"]
    return check_whole(compose_config([*overrides, f"paths.cache={tmp_path / 'cache'}"]))


@pytest.fixture
def called(monkeypatch):
    """What the stages are called with, by their names; they do nothing else."""
    calls = {}
    for name in NAMES:
        monkeypatch.setattr(
            import_module(f"lorakiln.{name}"), name, lambda *given, name=name: calls.update({name: given})
        )
    return calls


def test_the_second_door_walks_the_chain(config, called, tmp_path):
    run_pipeline(config, tmp_path / "run")
    assert list(called) == NAMES
    (data,) = (tmp_path / "cache" / "datasets").iterdir()
    folders = {"raw": tmp_path / "raw" / "demo_shapes", **locate_folders(data, DATA)}
    folders |= locate_folders(tmp_path / "run", CHAIN[len(DATA) :])
    expected = select_settings(config)
    for stage in CHAIN:
        count = len(stage.reads) + 1
        paths, settings = called[stage.name][:count], called[stage.name][count : count + len(stage.settings)]
        assert paths == tuple(folders[name] for name in (*stage.reads, stage.writes))
        if stage == TRAIN:  # the tracker gets its group and name from the run's folder
            settings = (settings[0].model_copy(update={"tracker": config.train.tracker}), *settings[1:])
        assert settings == tuple(expected[name] for name in stage.settings)
        more = called[stage.name][count + len(stage.settings) :]
        assert more == ((tmp_path / "cache" / "checkpoints", None) if stage == TRAIN else ())


@pytest.mark.parametrize("stage", CHAIN, ids=NAMES)
def test_the_first_doors_command_calls_the_same(config, called, tmp_path, monkeypatch, stage):
    (tmp_path / "outputs").mkdir()
    composed = {**config.model_dump(mode="json")}
    composed["paths"] = {name: str(tmp_path / name) for name in composed["paths"]}
    (tmp_path / "outputs" / "resolved.yaml").write_text(yaml.safe_dump(composed))
    (tmp_path / "prepared").mkdir()
    Dataset(**DATASET | {"name": "demo_shapes"}, settings={}).write(tmp_path / "prepared" / "dataset.json")
    monkeypatch.chdir(tmp_path)
    pages = []
    monkeypatch.setattr("lorakiln.tools.dataset_page.write_dataset_page", lambda *given: pages.append(given))
    import_module(f"pipelines.{stage.name}").main()
    captioned, prepared = tmp_path / "captioned", tmp_path / "prepared"
    of_caption = [(captioned, prepared, config.train, tmp_path / "captioned.html")]
    assert pages == (of_caption if stage.name == "caption" else [])
    by_hand = dict(called)
    folders = {name: Path(path) for name, path in composed["paths"].items()}
    more = by_hand[stage.name][-1:] if stage == TRAIN else ()
    stage.run({**folders, "raw": folders["raw"] / "demo_shapes"}, select_settings(config), *more)
    assert list(by_hand) == [stage.name] and called == by_hand


def test_a_stage_hands_its_settings_on_in_order(called):
    stage = Stage("export", reads=("b", "a"), writes="c", settings=("y", "x"))
    stage.run({"a": 1, "b": 2, "c": 3}, {"x": 4, "y": 5}, 6)
    assert called == {"export": (2, 1, 3, 5, 4, 6)}


def test_what_settings_say_stands_in_the_modules_of_their_classes_and_of_those_above():
    assert list_settings_modules(AdamWSettings(lr=1e-4)) == [
        "lorakiln.schema.base",
        "lorakiln.schema.marks",
        "lorakiln.schema.optimizers",
        "lorakiln.schema.optimizers.adamw",
    ]

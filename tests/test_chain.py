"""The chain of stages is the same in the package, in dvc.yaml, and behind both doors."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from lorakiln import chain
from lorakiln.artefacts.code_digest import Code, find_code
from lorakiln.chain import (
    CHAIN,
    DATA,
    ENCODE,
    EXPORT,
    TRAIN,
    Stage,
    list_namespaces,
    list_schema_modules,
    list_settings_modules,
    locate_folders,
    select_settings,
)
from lorakiln.facts.dataset import Dataset
from lorakiln.runs import run_pipeline
from lorakiln.schema.marks import list_named
from lorakiln.schema.model import Source
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


@pytest.fixture
def encoding(tmp_path, monkeypatch):
    """Folders and settings of `encode`, and how often it was called; it writes a file."""
    calls = []

    def encode(captioned, encoded, *settings):
        calls.append(settings)
        encoded.mkdir(exist_ok=True)
        (encoded / "index.json").write_text("made")

    monkeypatch.setattr("lorakiln.encode.encode", encode)
    shutil.copytree("models/tiny/sd", tmp_path / "base")
    (tmp_path / "captioned").mkdir()
    (tmp_path / "captioned" / "metadata.jsonl").write_text("a row")
    config = check_whole(compose_config(["+experiment=smoke", f"model.path={tmp_path / 'base'}"]))
    return locate_folders(tmp_path, DATA), select_settings(config), calls


def test_a_stage_with_nothing_to_do_is_not_called(encoding, capsys):
    folders, settings, calls = encoding
    for _ in range(3):
        ENCODE.update(folders, settings)
    assert len(calls) == 1 and capsys.readouterr().out.count("encode: nothing has changed since ") == 2


def change_settings(folders, settings, monkeypatch):
    settings["encode"] = settings["encode"].model_copy(update={"batch_size": 3})


def change_input(folders, settings, monkeypatch):
    (folders["captioned"] / "metadata.jsonl").write_text("another row")


def change_model(folders, settings, monkeypatch):
    (Path(settings["model"].path) / "scheduler" / "scheduler_config.json").write_text("{}")


def change_code(folders, settings, monkeypatch):
    monkeypatch.setattr("lorakiln.chain.find_code", lambda *names: Code("other", (), {}))


def change_library(folders, settings, monkeypatch):
    monkeypatch.setattr(chain, "find_code", lambda *names: find_code(*names)._replace(libraries={"torch": "99"}))


def change_device(folders, settings, monkeypatch):
    monkeypatch.setattr("lorakiln.chain.find_device_type", lambda: "cuda")


CHANGES = [change_settings, change_input, change_model, change_code, change_library, change_device]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.removeprefix("change_"))
def test_a_stage_is_called_again_after_a_change(encoding, monkeypatch, change):
    folders, settings, calls = encoding
    ENCODE.update(folders, settings)
    change(folders, settings, monkeypatch)
    ENCODE.update(folders, settings)
    assert len(calls) == 2


def test_models_that_a_stage_does_not_open_are_nothing_to_it(encoding, tmp_path):
    folders, settings, calls = encoding
    for name in ("captioner", "clip"):
        (tmp_path / name).mkdir()
        settings["model"] = settings["model"].model_copy(update={name: Source(path=str(tmp_path / name))})
    ENCODE.update(folders, settings)
    for name in ("captioner", "clip"):
        (tmp_path / name / "model.safetensors").write_text("another")
    ENCODE.update(folders, settings)
    assert len(calls) == 1


def test_a_hubs_model_counts_by_the_commit_that_is_here(encoding, monkeypatch):
    folders, settings, calls = encoding
    settings["model"] = settings["model"].model_copy(update={"path": "owner/base", "revision": "v1"})
    asked, here = [], iter((None, None, "aaa", "aaa", "bbb"))
    monkeypatch.setattr("lorakiln.chain.find_cached_commit", lambda *given: (asked.append(given), next(here))[1])
    for _ in range(5):
        ENCODE.update(folders, settings)
    assert set(asked) == {("owner/base", "v1")} and len(calls) == 3


def test_what_sends_something_away_is_called_whenever_it_is_asked_for(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("lorakiln.export.export", lambda *given: (calls.append(1), given[3].mkdir(exist_ok=True)))
    folders = locate_folders(tmp_path, CHAIN)
    settings = select_settings(check_whole(compose_config(["+experiment=smoke"])))
    for target, expected in ((None, 1), ("me/mine", 3)):
        settings["export"] = settings["export"].model_copy(update={"push_to_hub": target})
        for _ in range(2):
            EXPORT.update(folders, settings)
        assert len(calls) == expected


def test_every_model_that_a_stage_leaves_closed_is_one_of_its_settings():
    settings = select_settings(check_whole(compose_config(["+experiment=smoke"])))
    for stage in CHAIN:
        named = {one.path for name in stage.settings for one in list_named(settings[name], name)}
        assert all(any(path.startswith(f"{one}.") for path in named) for one in stage.unopened), stage.name
        assert not stage.sends or any(stage.sends in type(settings[name]).model_fields for name in stage.settings)


def test_all_of_the_schema_counts():
    modules = list_schema_modules()
    assert {"lorakiln.schema", "lorakiln.schema.marks", "lorakiln.schema.optimizers.adamw"} <= set(modules)
    assert all(import_module(name) for name in modules)

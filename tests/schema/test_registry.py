"""Kinds are found by name, those of the package and those that are added, and checked as the schema's own are."""

import sys
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
from pydantic import Field

from lorakiln.console.errors import ConfigError
from lorakiln.schema import registry
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.schema.base import Settings, check, list_sections
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings
from lorakiln.schema.optimizers.adamw import AdamWSettings
from lorakiln.schema.registry import Registry


class SignSettings(OptimizerSettings):
    kind: Literal["sign"] = "sign"
    momentum: float = Field(0.9, ge=0, lt=1)


class Holder(Settings):
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS.chosen()]


@pytest.fixture
def sign():
    OPTIMIZERS.add("sign", SimpleNamespace(), SignSettings)
    yield
    OPTIMIZERS.remove("sign")


def problems(data):
    with pytest.raises(ConfigError) as caught:
        check(Holder, data, "train")
    return caught.value.problems


def test_the_kind_that_is_named_decides_the_settings(sign):
    assert check(Holder, {"optimizer": {"kind": "adamw", "lr": 1e-4}}).optimizer == AdamWSettings(lr=1e-4)
    given = check(Holder, {"optimizer": {"kind": "sign", "lr": 1e-4, "momentum": 0.5}}).optimizer
    assert given == SignSettings(lr=1e-4, momentum=0.5)
    assert Holder(optimizer=given).model_dump(mode="json") == {
        "optimizer": {"kind": "sign", "lr": 1e-4, "part_lrs": {}, "momentum": 0.5}
    }


def test_where_the_base_names_a_kind_that_is_the_usual_one():
    class Usual(Settings):
        kind: str = "first"
        size: int = Field(1, ge=0, le=9)

    class First(Usual):
        kind: Literal["first"] = "first"
        depth: int = Field(2, ge=0, le=9)

    class Other(Usual):
        kind: Literal["other"] = "other"

    kinds = Registry("shape", code="lorakiln.console", settings="lorakiln.console", base=Usual)
    kinds.add("first", SimpleNamespace(), First)
    kinds.add("other", SimpleNamespace(), Other)

    class Room(Settings):
        shape: Annotated[Usual, kinds.chosen()]

    assert check(Room, {"shape": {}}).shape == First()
    assert check(Room, {"shape": {"depth": 3}}).shape == First(depth=3)
    assert check(Room, {"shape": {"kind": "other"}}).shape == Other()
    with pytest.raises(ConfigError) as caught:
        check(Room, {"shape": {"depht": 3}})
    assert caught.value.problems == ["shape.depht: unknown setting; did you mean depth?"]


def test_what_is_wrong_inside_is_told_with_its_place(sign):
    assert problems({"optimizer": {"kind": "sign", "lr": 1e-4, "momentum": 2, "lr_": 1}}) == [
        "train.optimizer.momentum: Input should be less than 1 (got 2)",
        "train.optimizer.lr_: unknown setting; did you mean lr?",
    ]
    # Another kind's setting is none of this one's.
    (found,) = problems({"optimizer": {"kind": "sign", "lr": 1e-4, "betas": [0.9, 0.99]}})
    assert found == "train.optimizer.betas: unknown setting; known: kind, lr, momentum, part_lrs"
    (found,) = problems({"optimizer": {"kind": "sgin", "lr": 1e-4}})
    assert found.startswith("train.optimizer.kind: Input should be 'adafactor', 'adamw'")
    assert found.endswith(" or 'sign' (got 'sgin')")
    assert problems({"optimizer": {"lr": 1e-4}}) == ["train.optimizer.kind: field required"]
    assert problems({"optimizer": 3}) == [
        "train.optimizer: Input should be a valid dictionary or instance of OptimizerSettings (got 3)"
    ]


def test_a_walk_of_the_schema_sees_every_kind(sign):
    found = list_sections(Holder.model_fields["optimizer"])
    assert AdamWSettings in found
    assert SignSettings in found


def test_an_added_kind_takes_no_others_name(sign):
    for name in ("adamw", "sign"):
        with pytest.raises(ValueError, match="there is a kind of optimizer called"):
            OPTIMIZERS.add(name, SimpleNamespace(), SignSettings)
    with pytest.raises(ValueError, match="must be a subclass of OptimizerSettings"):
        OPTIMIZERS.add("other", SimpleNamespace(), Settings)


def test_a_kind_that_files_alone_have_is_known_and_what_kinds_share_is_none():
    assert "glora" in ADAPTERS.known and "glora" not in ADAPTERS.names
    with pytest.raises(ValueError, match="there is a kind of adapter called 'glora'"):
        ADAPTERS.add("glora", SimpleNamespace())
    assert not {*ADAPTERS.besides} & {*ADAPTERS.known}


def test_code_is_imported_when_it_is_asked_for(tmp_path, monkeypatch):
    room = tmp_path / "room_of_kinds"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "first.py").write_text("NUMBER = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = Registry("number", code="room_of_kinds")
    assert kinds.names == ["first"]
    assert "room_of_kinds.first" not in sys.modules
    assert kinds.find("first").NUMBER == 1
    with pytest.raises(KeyError, match="no number 'second'; there are: first"):
        kinds.find("second")


def test_an_installed_package_adds_its_kinds(tmp_path, monkeypatch):
    info = tmp_path / "others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\nothers = others_kinds:add\n")
    (tmp_path / "others_kinds.py").write_text(
        "from tests.schema.test_registry import OPTIMIZERS, SignSettings\n"
        "def add():\n    OPTIMIZERS.add('sign', object(), SignSettings)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._add_installed.cache_clear()
    try:
        assert "sign" in OPTIMIZERS.names
    finally:
        OPTIMIZERS.remove("sign")

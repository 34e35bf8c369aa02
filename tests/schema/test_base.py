import pytest
from pydantic import Field

from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import Settings, check


class Inner(Settings):
    learning_rate: float = Field(gt=0)


class Outer(Settings):
    inner: Inner
    maybe: Inner | None = None
    count: int = 1
    named: dict[str, Inner] = Field(default_factory=dict)


def problems(data):
    with pytest.raises(ConfigError) as caught:
        check(Outer, data, "train")
    return caught.value.problems


def test_unknown_keys_name_the_nearest_known_one():
    assert problems({"inner": {"learning_rate": 1, "learnin_rate": 2}}) == [
        "train.inner.learnin_rate: unknown setting; did you mean learning_rate?"
    ]


def test_unknown_keys_in_an_optional_section():
    found = problems({"inner": {"learning_rate": 1}, "maybe": {"learning_rate": 1, "zzz": 2}})
    assert found == ["train.maybe.zzz: unknown setting; known: learning_rate"]


def test_unknown_keys_below_a_name_of_the_users():
    found = problems({"inner": {"learning_rate": 1}, "named": {"mine": {"learning_rate": 1, "zzz": 2}}})
    assert found == ["train.named.mine.zzz: unknown setting; known: learning_rate"]
    found = problems({"inner": {"learning_rate": 1}, "named": {"mine": {"learnin_rate": 1}}})
    assert "train.named.mine.learnin_rate: unknown setting; did you mean learning_rate?" in found


def test_everything_wrong_is_told_at_once():
    found = problems({"inner": {"learning_rate": -1}, "count": "many"})
    assert [line.split(":")[0] for line in found] == ["train.inner.learning_rate", "train.count"]
    assert "got -1" in found[0]


def test_a_missing_key_is_named():
    assert problems({}) == ["train.inner: field required"]


def test_text_that_is_a_number_and_not_a_number():
    (quoted,) = problems({"inner": {"learning_rate": "1e-4"}})
    assert quoted == "train.inner.learning_rate: Input should be a valid number; a number has no quotes (got '1e-4')"
    assert "train.count" in problems({"inner": {"learning_rate": 1}, "count": True})[0]
    assert "finite" in problems({"inner": {"learning_rate": float("nan")}})[0]

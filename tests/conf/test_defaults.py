"""What stands in conf/ and in the schema is the same, but for what a member of a group is there for."""

from collections.abc import Iterator
from typing import Any

import pytest

from lorakiln.schema.base import Settings
from lorakiln.schema.whole_config import Config, check_whole
from pipelines.compose import compose_config
from tests.conf.test_compose import GROUPS

# What sets a member of a group apart from the others; and what the model says, in all of them.
PRESETS = {
    "caption=none": {"caption.captioner"},
    **{f"train/objective={name}": {"train.objective.kind"} for name in ("huber", "l1", "smooth_l1")},
    "train/objective=debiased": {"train.objective.debiased_estimation"},
    "train/objective=min_snr": {"train.objective.min_snr_gamma"},
    "train/objective=p2": {"train.objective.p2_gamma"},
    "train/trainer=ddp": {"train.trainer.devices"},
}
# Facts of a model, of a subject, of an experiment's report are nobody's defaults.
DEFAULTS = [
    "",
    *(one for one in GROUPS if one.split("=")[0] not in ("model", "subject") and not one.startswith("hydra")),
]
DEFAULTS.remove("evaluate=demo_style")


def defaults(settings: Settings, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Of every setting that the schema has a value for: its name, that value and what it is; those of a model aside."""
    for name, field in type(settings).model_fields.items():
        where, value = f"{path}.{name}" if path else name, getattr(settings, name)
        if where == "model":
            continue
        if isinstance(value, Settings):
            yield from defaults(value, where)
        elif not field.is_required():
            yield where, field.get_default(call_default_factory=True), value


def compose(*overrides: str) -> Config:
    return check_whole(compose_config(["prepare.dataset=demo_style", *filter(None, overrides)]))


def test_there_are_defaults_in_both():
    found = {where for where, _, _ in defaults(compose())}
    assert len(found) > 75
    assert {"train.samples.seeds", "evaluate.between", "train.optimizer.betas", "caption.num_beams"} <= found


@pytest.mark.parametrize("group", DEFAULTS, ids=lambda group: group or "default")
def test_the_schemas_defaults_are_those_of_conf(group):
    other = {where for where, default, value in defaults(compose(group)) if default != value}
    assert other <= PRESETS.get(group, set()) | {"prepare.domain"}, (
        f"{group}: another value in conf/ than in the schema"
    )

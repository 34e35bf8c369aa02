"""Settings of trained text encoders that mean nothing, on this base or on any."""

import json

import pytest

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.families import load_family
from lorakiln.families.protocol import NETWORK
from lorakiln.schema.base import check
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapter_placement import list_placements

BOTH = {"parts": ["unet", "text_encoder"], "text_encoders": {"rank": 2, "lr": 5e-3, "stop": 6}}

REFUSED = {
    "an encoder that this base has not": ({"parts": ["unet", "text_encoder_2"]}, "train.parts"),
    "rates of what is not trained": ({"parts": ["unet"], "text_encoders": {"lr": 1e-4}}, "train.parts"),
    "the network as an encoder": (
        {**BOTH, "text_encoders": {"own": {"unet": {"lr": 1e-4}}}},
        "train.text_encoders.own",
    ),
    "an unknown preset": ({**BOTH, "text_encoders": {"targets": "locon"}}, "train.text_encoders.targets"),
    "modules that are not there": ({**BOTH, "text_encoders": {"targets": ["to_q"]}}, "train.text_encoders.targets"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_means_nothing_on_this_base_is_refused(case, make_settings, micro_model):
    changes, where = REFUSED[case]
    with pytest.raises(UserError) as told:
        list_placements(load_family(micro_model, ("text", *NETWORK)), make_settings(**changes))
    assert told.value.where == where and told.value.fix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_encoders": {"lr": 1e-4}}, "text_encoders.lr is set, and no text encoder is trained"),
        ({"parts": ["unet", "unet"]}, "names one twice"),
        ({"parts": []}, "parts is empty"),
        ({**BOTH, "text_encoders": {"own": {"text_encoder_2": {"lr": 1e-4}}}}, "not among parts"),
        ({**BOTH, "optimizer": {"part_lrs": {"text_encoder": 1e-4}}}, "two learning rates"),
        ({**BOTH, "optimizer": {"kind": "prodigy", "lr": 1.0}}, "finds one rate"),
        ({**BOTH, "text_encoders": {"stop": 1.5}}, "stop"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_means_nothing_anywhere_is_refused(changes, message, make_settings):
    plain = json.loads(make_settings().model_dump_json())
    given = {name: {**plain[name], **one} if isinstance(one, dict) else one for name, one in changes.items()}
    if "optimizer" in changes and "kind" in changes["optimizer"]:
        given["optimizer"] = changes["optimizer"]
    with pytest.raises(ConfigError, match=message):
        check(TrainSettings, {**plain, **given}, "train")

"""Everything that steps may have, on a device that is no CPU, in name only; see test_on_a_device.py."""

import pytest

from lorakiln.optim import find_optimizer
from lorakiln.schema.optimizers import OPTIMIZERS
from lorakiln.train.share import Share
from lorakiln.train.validation import compute_validation_loss
from tests.adapters.networks import ENDS
from tests.adapters.test_trained_kinds import KINDS as ADAPTERS
from tests.families.reduced import write_reduced
from tests.families.test_devices import reduced_settings
from tests.strict_device import StrictDevice
from tests.train.module_there import CAPTION, ROWS, make_module_there, train_there

ENCODERS = {"parts": ["unet", "text_encoder", "text_encoder_2"]}
WORD = {"tokens": {CAPTION: {"init": "red", "vectors": 2, "max_norm": 1.0}}}
OPTIONS = {
    "clipping": {"max_grad_norm": 0.5},
    "text encoders": ENCODERS,
    "text encoders that have stopped": {**ENCODERS, "text_encoders": {"stop": 1}},
    "text encoders, checkpointing": {**ENCODERS, "trainer": {"gradient_checkpointing": True}},
    "text encoders, fp16": {**ENCODERS, "share": Share(fp16=True)},
    "text encoders, captions dropped": {**ENCODERS, "objective": {"caption_dropout": 0.5}},
    "a word": WORD,
    "a word alone": {**WORD, "parts": []},
    "captions drawn and read": {"drawn": "live"},
    "captions drawn and read in bf16": {"drawn": "live", "share": Share(bf16=True)},
    "captions drawn and dropped": {"drawn": "live", "objective": {"caption_dropout": 0.5}},
    "captions read ahead": {"drawn": "ahead", "objective": {"caption_dropout": 0.5}},
    "masks": {"masked": True, "objective": {"unmasked_weight": 0.2, "normalize_masked_area": True}},
    "prior preservation": {"objective": {"prior_loss_weight": 0.3}},
    "an average": {"ema": {"decay": 0.9}},
    "largest norms": {"adapter": {"max_norm": 0.1}},
    "faster factors": {"adapter": {"rate_ratio": 16.0}},
}
# Of a dataset that is not on the device, in which each of these reads something of its own.
READ = ("masks", "prior preservation", "captions read ahead", "captions drawn and dropped", "text encoders")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of the family with two text encoders."""
    return reduced_settings(
        write_reduced(tmp_path_factory.mktemp("reduced") / "sdxl", "sdxl", layers=(1, 1, 1)), "sdxl"
    )


@pytest.fixture(autouse=True)
def device():
    with StrictDevice() as strict, strict.reading_zeros():
        yield strict


@pytest.fixture
def make_there(model, make_settings):
    def make(resident=True, share=None, masked=False, drawn=None, **changes):
        settings = make_settings(**{"batch_size": 2, **changes})
        return make_module_there(model, settings, resident, share, masked, drawn)

    return make


@pytest.mark.parametrize(("resident", "name"), [*((True, one) for one in OPTIONS), *((False, one) for one in READ)])
def test_every_option_is_trained_there_and_waits_for_nothing(make_there, device, resident, name):
    module = make_there(resident, **OPTIONS[name])
    device.waits.clear()
    train_there(module, steps=2)
    assert device.waits == []
    with module.averaged():
        assert compute_validation_loss(module, [[ROWS - 1]]) == 0


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_kind_is_trained_there_and_waits_for_nothing(make_there, device, name):
    # BOFT's blocks are halves of halves of the outputs, which are 24 at most here.
    rank = {"rank": 6, "alpha": 6.0} if name == "boft" else {}
    module = make_there(adapter={**ADAPTERS[name], **rank, "targets": list(ENDS)})
    device.waits.clear()
    train_there(module)
    assert device.waits == []
    assert {one.device.type for one in module.adapted.compute_squared_norms().values()} == {"meta"}


@pytest.mark.parametrize("name", OPTIMIZERS.names)
def test_every_optimizer_kind_steps_there_and_waits_for_no_more_than_it_says(make_there, device, name):
    module = make_there(optimizer={"kind": name})
    device.waits.clear()
    train_there(module, steps=2)
    assert device.waits == ([] if find_optimizer(module.settings.optimizer).MASKED else ["__bool__"] * 2)

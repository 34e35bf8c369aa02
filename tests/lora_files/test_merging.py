import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.console.errors import UserError
from lorakiln.lora_files.merging import Merged
from tests.lora_files.conftest import ALPHAS, RANKS, predict, predict_merged, random_adapter


def test_weights_scale_the_adapter_and_0_is_the_base_bit_for_bit(family):
    base, adapter = predict(family.network), random_adapter(family, RANKS, ALPHAS)
    half, double = (predict_merged(family, adapter, weight) for weight in (0.5, 2.0))
    merged = Merged({"unet": family.network}, adapter)
    merged.set_weights(0.5)
    torch.testing.assert_close(predict(family.network), half, rtol=1e-4, atol=1e-4)
    merged.set_weights(2.0)
    torch.testing.assert_close(predict(family.network), double, rtol=1e-4, atol=1e-4)
    merged.set_weights(0)
    assert torch.equal(predict(family.network), base)


def test_an_adapter_of_another_base_is_refused(family):
    name, layer = next(iter(random_adapter(family).layers.items()))
    with pytest.raises(UserError, match="which the base model has not"):
        Merged({"unet": family.network}, Adapter({"unet.not.there": layer}))
    wide = Layer(torch.zeros(4, layer.down.shape[1] + 1), layer.up[:, :4], 4.0)
    with pytest.raises(UserError, match="another shape"):
        Merged({"unet": family.network}, Adapter({name: wide}))

"""The moving average of the adapter's weights."""

import pytest
import torch
from diffusers.training_utils import EMAModel

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.export.checkpoint_choice import choose_weights
from lorakiln.facts.run import RunFacts, SavedAdapter
from lorakiln.schema.train import EmaSettings
from lorakiln.train.ema import WeightAverage, compute_decay


@pytest.mark.parametrize(("decay", "start"), [(0.9, 0), (0.5, 0), (0.9999, 7)])
def test_the_average_is_diffusers(decay, start):
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(8, generator=generator))
    theirs = EMAModel([weight], decay=decay, update_after_step=start)
    mine = WeightAverage(weight.data, EmaSettings(decay=decay, start=start))
    for step in range(1, 31):
        weight.data += torch.randn(8, generator=generator)
        theirs.step([weight])
        mine.update(weight.data, step)
        torch.testing.assert_close(mine.weights, theirs.shadow_params[0], rtol=1e-5, atol=1e-6)


def test_without_a_warm_up_the_decay_is_constant():
    settings = EmaSettings(decay=0.99, start=3, warmup=False)
    assert [compute_decay(step, settings) for step in (1, 4, 5, 6)] == [0, 0, 0.99, 0.99]


def test_a_runs_averages_are_those_of_its_adapters(train_micro, make_settings):
    settings = make_settings(save_every=1, ema={"decay": 0.8}, validation={"every": 1, "fraction": 0.3, "draws": 1})
    out = train_micro(settings)
    facts = RunFacts.read(out / "facts.json")
    expected = None
    for one in facts.adapters:
        raw, found = load_tensors(out / one.file)[0], load_tensors(out / one.average)[0]
        k = one.step - 1
        decay = min(0.8, (1 + k) / (10 + k)) if k else 0.0
        expected = {name: decay * (expected or raw)[name] + (1 - decay) * tensor for name, tensor in raw.items()}
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(found[name], raw[name]) for name in raw)
    # It is the average that is validated; nothing of what is trained differs.
    plain = make_settings(save_every=1, validation={"every": 1, "fraction": 0.3, "draws": 1})
    other = train_micro(plain, "plain")
    name = "adapters/step-00000012.safetensors"
    assert (out / name).read_bytes() == (other / name).read_bytes()
    losses = [RunFacts.read(folder / "facts.json").adapters[-1].validation_loss for folder in (out, other)]
    assert losses[0] != losses[1]


def test_which_weights_are_exported():
    both = [SavedAdapter(step=1, file="adapters/a", average="averages/a", validation_loss=0.5)]
    raw = [SavedAdapter(step=1, file="adapters/a")]
    assert choose_weights(both, "raw") == both and choose_weights(raw, "auto") == raw
    for wanted in ("auto", "ema"):
        assert [one.file for one in choose_weights(both, wanted)] == ["averages/a"]
    with pytest.raises(UserError, match="the run has no moving average"):
        choose_weights(raw, "ema")

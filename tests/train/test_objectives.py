"""Training with everything that an objective can have: it follows from (seed, step), and is what its formulas say."""

import shutil

import numpy as np
import pytest
import torch

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.train.assembly import assemble
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.share import Share
from lorakiln.train.validation import compute_validation_loss
from tests.train.micro_base import add_masks, write_base
from tests.train.test_lora_module import one_step

REGULARISING = ("1.png", "5.png")
# All that a base of either prediction can have at once.
EVERYTHING = {
    "epsilon": {
        "kind": "huber",
        "huber_schedule": "snr",
        "debiased_estimation": True,
        "v_pred_like_loss": 0.2,
        "noise_offset": 0.1,
        "noise_offset_random": True,
        "multires_noise_iterations": 6,
        "ip_noise_gamma": 0.1,
        "ip_noise_gamma_random": True,
        "caption_dropout": 0.3,
        "timestep_density": "logit_normal",
        "unmasked_weight": 0.1,
        "normalize_masked_area": True,
        "prior_loss_weight": 0.5,
    },
    "v_prediction": {
        "kind": "smooth_l1",
        "huber_schedule": "exponential",
        "huber_scale": 2.0,
        "p2_gamma": 1.0,
        "scale_v_pred_loss_like_noise_pred": True,
        "multires_noise_iterations": 3,
        "ip_noise_gamma": 0.1,
        "zero_terminal_snr": True,
        "timestep_density": "cubic",
        "unmasked_weight": 0.0,
        "prior_loss_weight": 2.0,
    },
}


@pytest.fixture(scope="module", params=EVERYTHING)
def base(request, tmp_path_factory):
    model, encoded = write_base(tmp_path_factory.mktemp(request.param), request.param)
    shutil.copytree(encoded, encoded.with_name("plain"))
    add_masks(encoded, REGULARISING)
    # The same rows for regularisation, whose number decides how often each is shown, without masks.
    shutil.copytree(encoded.with_name("plain"), encoded.with_name("unmasked"))
    shutil.copy(encoded / "index.json", encoded.with_name("unmasked") / "index.json")
    return request.param, model, encoded


@pytest.fixture
def micro_model(base):
    return base[1]


@pytest.fixture
def micro_encoded(base):
    return base[2]


@pytest.fixture
def everything(base):
    return EVERYTHING[base[0]]


def test_a_killed_run_goes_on_bit_for_bit(
    base, everything, train_killed, train_micro, make_settings, read_files, capsys
):
    settings = make_settings(
        steps=8,
        checkpoint_every=3,
        objective=everything,
        validation={"every": 4, "fraction": 0.3, "draws": 2},
        samples={"every": 4, "steps": 2},
    )
    train_killed(settings, at=5)
    out = train_micro(settings)
    assert "going on from the checkpoint after step 3" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))
    told = capsys.readouterr().out
    assert f"objective   {everything['kind']}, huber_schedule {everything['huber_schedule']}, " in told
    assert ("noise       to zero terminal SNR" in told) == (base[0] == "v_prediction")
    assert read_json(out / "facts.json").get("zero_terminal_snr", False) == (base[0] == "v_prediction")


def test_devices_and_micro_batches_add_up_to_the_batch(everything, make_module, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    whole = make_module(objective=everything)
    parts = [make_module(objective=everything, share=Share(rank, 2), micro_batch=1) for rank in (0, 1)]
    for step in range(3):
        for module in (whole, *parts):
            one_step(module, step)
        total = parts[0].flat.gradients + parts[1].flat.gradients
        scale = whole.flat.gradients[:-1].norm()
        assert scale > 0 and (total - whole.flat.gradients).norm() < 1e-5 * scale


def test_masks_and_regularisation_weigh_as_they_say(base, make_module):
    """Of a squared error, picture by picture, with each one's mask in the variant that is drawn."""
    process = {"mse": lambda d: d.square(), "l1": lambda d: d.abs()}
    seen = set()
    for kind, error in process.items():
        objective = {
            "kind": kind,
            "unmasked_weight": 0.25,
            "normalize_masked_area": kind == "l1",
            "prior_loss_weight": 3.0,
        }
        module = make_module(objective=objective)
        for step in range(3):
            samples = module.schedule(step)
            draws, bucket = module.make_draws(step, samples), module.encoded.buckets[samples.bucket]
            losses = []
            for i, (picture, variant) in enumerate(zip(samples.pictures, samples.variants, strict=True)):
                row, t = module.trained[samples.bucket][picture], draws.times[i : i + 1]
                x_0 = (bucket.mean[row, variant] + bucket.std[row, variant] * draws.posterior[i])[None]
                noisy = module.family.process.add_noise(x_0, draws.epsilon[i : i + 1], t)
                told = bucket.conditioning["prompt_embeds"][row][None]
                target = module.family.process.compute_target(x_0, draws.epsilon[i : i + 1], t)
                errors = error(module.network(noisy, t, told).sample - target)[0].mean(dim=0)
                mask = bucket.mask[row, variant]
                weights = torch.where(mask == 1, 1.0, torch.where(mask == 0, 0.25, 0.625))
                loss = (errors * weights).mean() / (weights.mean() if kind == "l1" else 1)
                regularises = bucket.rows[row].file_name in REGULARISING
                seen.add((regularises, bool(variant)))
                losses.append(loss.item() * (3 if regularises else 1))
            found = module.loss(samples, draws, slice(0, 4)).item()
            assert found == pytest.approx(np.mean(losses), rel=1e-5)
    assert seen == {(regularises, variant) for regularises in (False, True) for variant in (False, True)}


def test_masks_are_not_looked_at_unless_they_are_to_count(base, make_module):
    plain = base[2].with_name("unmasked")
    with_masks, without = make_module(), make_module(encoded=plain)
    samples = without.schedule(0)
    draws = without.make_draws(0, samples)
    losses = [module.loss(samples, draws, slice(0, 4)).item() for module in (with_masks, without)]
    assert losses[0] == losses[1]


def test_what_is_outside_of_a_mask_moves_nothing(base, make_module):
    """The loss's gradient by the network's answer is 0 in every cell that is wholly outside, and in no other."""
    module, answers = make_module(objective={"unmasked_weight": 0.0}), []
    module.network.register_forward_hook(lambda network, given, answer: answers.append(answer[0]))
    for step in range(2):
        answers.clear()
        samples = module.schedule(step)
        loss = module.loss(samples, module.make_draws(step, samples), slice(0, 4))
        (answer,) = answers
        (gradient,) = torch.autograd.grad(loss, answer)
        bucket = module.encoded.buckets[samples.bucket]
        rows = [module.trained[samples.bucket][picture] for picture in samples.pictures]
        mask = bucket.mask[rows, list(samples.variants)][:, None].expand_as(gradient)
        assert 0 < (mask == 0).double().mean() < 1
        assert torch.equal(gradient == 0, mask == 0)


def test_validation_stays_the_plain_squared_error(base, everything, make_module):
    schedule = {"zero_terminal_snr": everything.get("zero_terminal_snr", False)}
    module, plain = make_module(objective=everything), make_module(objective=schedule)
    assert compute_validation_loss(module, [[0], [1]]) == compute_validation_loss(plain, [[0], [1]])


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"unmasked_weight": 0.0}, "unmasked_weight: 0 has no meaning here: no picture of the dataset has a mask"),
        ({"prior_loss_weight": 0.5}, "prior_loss_weight: 0.5 has no meaning here: no picture .* is one for regul"),
    ],
)
def test_without_masks_and_regularisation_pictures_their_weights_are_refused(
    base, train_micro, make_settings, tmp_path, objective, message
):
    with pytest.raises(UserError, match=f"train.objective.{message}.*\n.*set train.objective.*=1.0"):
        train_micro(make_settings(objective=objective), encoded=base[2].with_name("plain"))
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_size_is_a_damaged_folder(base, tmp_path):
    encoded = shutil.copytree(base[2], tmp_path / "encoded")
    tensors = dict(load_tensors(encoded / "32x32.safetensors")[0])
    save_tensors(encoded / "32x32.safetensors", tensors | {"loss_mask": torch.ones(4, 2, 8, 4)})
    with pytest.raises(UserError, match=r"32x32.safetensors: its loss_mask has the shape \(4, 2, 8, 4\)"):
        EncodedDataset.read(encoded)


def test_training_and_its_samples_follow_the_rescaled_schedule(base, everything, make_settings):
    settings = make_settings(objective=everything, samples={"every": 4, "steps": 4})
    run = assemble(base[2], settings, base[1], Share(), torch.device("cpu"))
    process = run.module.losses.process
    assert run.family.process is process
    rescaled = base[0] == "v_prediction"
    assert (process.alphas_cumprod[-1].item() == 0) == rescaled
    assert (int(process.make_sampler(4).times[0]) == 999) == rescaled

"""Twenty steps beside those of diffusers' train_text_to_image_lora, written plainly with peft and DDPMScheduler."""

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

from lorakiln.diffusion import random_draws
from tests.train.micro_base import write_base

STEPS, RATE = 20, 1e-2


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def base(request, tmp_path_factory):
    """The micro model, predicting one or the other, and its encoded pictures."""
    return write_base(tmp_path_factory.mktemp(request.param), request.param)


def plain_training(module, folder, gamma):
    """The losses of a loop as diffusers' script has it, and the adapter that it ends with, by name.

    The start, the pictures and the noise are the module's; everything else is peft's, diffusers' and torch's.
    """
    settings = module.settings
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").requires_grad_(False)
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    adapter = settings.adapter
    unet.add_adapter(
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            target_modules=[
                name.removesuffix(".lora_A.default.weight") for name in module.flat.names if "lora_A" in name
            ],
        )
    )
    start = {
        name.replace(".default.", "."): weight.clone()
        for name, weight in module.flat.split(module.flat.weights.data).items()
    }
    result = set_peft_model_state_dict(unet, start)
    assert not result.unexpected_keys
    weights = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        weights,
        lr=RATE,
        betas=settings.optimizer.betas,
        eps=settings.optimizer.eps,
        weight_decay=settings.optimizer.weight_decay,
    )
    unet.train()
    losses = []
    for step in range(STEPS):
        samples = module.schedule(step)
        bucket = module.encoded.buckets[samples.bucket]
        rows = module.trained[samples.bucket][samples.pictures]
        shape = (len(rows), *bucket.mean.shape[2:])
        draws = random_draws.make_draws(settings.seed, step, shape, settings.objective, module.family.process)
        latents = bucket.mean[rows, samples.variants] + bucket.std[rows, samples.variants] * draws.posterior
        noise, timesteps = draws.epsilon, draws.times
        noisy = scheduler.add_noise(latents, noise, timesteps)
        v = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, timesteps) if v else noise
        prediction = unet(noisy, timesteps, bucket.conditioning["prompt_embeds"][rows], return_dict=False)[0]
        if gamma is None:
            loss = torch.nn.functional.mse_loss(prediction, target, reduction="mean")
        else:
            snr = compute_snr(scheduler, timesteps)
            weight = torch.minimum(snr, gamma * torch.ones_like(snr)) / (snr + 1 if v else snr)
            loss = torch.nn.functional.mse_loss(prediction, target, reduction="none")
            loss = (loss.mean(dim=list(range(1, loss.dim()))) * weight).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, get_peft_model_state_dict(unet)


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_losses_and_weights_are_those_of_diffusers_script(base, make_module, gamma):
    model, encoded = base
    module = make_module(
        model=model, encoded=encoded, steps=STEPS, objective={"min_snr_gamma": gamma}, optimizer={"lr": RATE}
    )
    expected, weights = plain_training(module, model.path, gamma)
    module.optimizers = lambda use_pl_optimizer: module.optimizer
    module.network.train()
    first = module.flat.weights.data.clone()
    for step in range(STEPS):
        module.training_step(0, step)
    assert module.step_losses.read() is None
    assert module.step_losses.losses == pytest.approx(expected, rel=1e-5)
    moved, off = 0.0, 0.0
    before = module.flat.split(first)
    for name, trained in module.flat.split(module.flat.weights.data).items():
        plain = weights[name.replace(".default.", ".")]
        off += (trained - plain).double().square().sum().item()
        moved += (plain - before[name]).double().square().sum().item()
    assert moved > 0.1
    assert (off / moved) ** 0.5 < 1e-5

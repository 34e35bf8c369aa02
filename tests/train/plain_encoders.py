"""Text encoders trained as diffusers' scripts do it: a plain loop, with peft's adapters."""

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lorakiln.diffusion import random_draws


class PlainTexts:
    """Prompts as diffusers' scripts encode them, with peft's adapters."""

    def __init__(self, folder):
        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        self.encoders = {
            name: kind.from_pretrained(folder, subfolder=name).requires_grad_(False)
            for name, kind in kinds.items()
            if (folder / name).is_dir()
        }
        self.tokenizers = {
            name: CLIPTokenizer.from_pretrained(folder, subfolder=name.replace("text_encoder", "tokenizer"))
            for name in self.encoders
        }

    def encode(self, texts):
        """What the UNet's call takes."""
        told, states = {}, []
        for name, encoder in self.encoders.items():
            given = {"padding": "max_length", "max_length": 32, "truncation": True, "return_tensors": "pt"}
            output = encoder(self.tokenizers[name](texts, **given).input_ids, output_hidden_states=True)
            states.append(output.hidden_states[-2] if len(self.encoders) > 1 else output.last_hidden_state)
            if name == "text_encoder_2":
                told = {"text_embeds": output.text_embeds}
        return torch.cat(states, dim=-1), told


def adapt(networks, module):
    """Put peft's adapters on plain networks, with the module's first weights; what is trained, by name."""
    start, found = module.flat.split(module.flat.weights.data), {}
    for part in module.adapted.networks:
        network, prefix = networks[part], "" if part == "unet" else f"{part}."
        mine = [name.removeprefix(prefix) for name in start if name.startswith(prefix)]
        others = tuple(f"{other}." for other in networks if other != "unet")
        mine = [name for name in mine if prefix or not name.startswith(others)]
        ends = [name.removesuffix(".lora_A.default.weight") for name in mine if "lora_A" in name]
        rank = len(start[prefix + ends[0] + ".lora_A.default.weight"])
        alpha = next(iter(module.adapted.kind.layers_on(module.adapted.networks[part]).values())).lora_alpha["default"]
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=ends), network)
        for name, weight in network.named_parameters():
            weight.requires_grad_("lora_" in name)
            if "lora_" in name:
                weight.data.copy_(start[prefix + name])
                found[prefix + name] = weight
    return found


def train_plainly(module, folder, steps):
    """The losses of a loop as diffusers' scripts have it; the pictures and the noise are the module's."""
    texts, settings = PlainTexts(folder), module.settings
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").requires_grad_(False)
    weights = adapt({"unet": unet, **texts.encoders}, module)
    rate = settings.text_encoders.choose
    groups = [
        {"params": [weights[name]], "lr": rate(part).lr if part in texts.encoders else settings.optimizer.lr}
        for name in weights
        for part in [name.partition(".")[0]]
    ]
    given = settings.optimizer
    optimizer = torch.optim.AdamW(groups, betas=given.betas, eps=given.eps, weight_decay=given.weight_decay)
    scheduler, losses = DDPMScheduler.from_pretrained(folder, subfolder="scheduler"), []
    for step in range(steps):
        samples = module.schedule(step)
        bucket = module.encoded.buckets[samples.bucket]
        rows = module.trained[samples.bucket][samples.pictures]
        shape = (len(rows), *bucket.mean.shape[2:])
        draws = random_draws.make_draws(settings.seed, step, shape, settings.objective, module.family.process)
        latents = bucket.mean[rows, samples.variants] + bucket.std[rows, samples.variants] * draws.posterior
        read = ["" if gone else bucket.rows[row].text for row, gone in zip(rows, draws.dropped, strict=True)]
        states, added = texts.encode(read)
        if added:
            height, width = (4 * side for side in shape[2:])
            added["time_ids"] = torch.tensor([[height, width, 0, 0, height, width]]).expand(len(rows), -1)
        noisy = scheduler.add_noise(latents, draws.epsilon, draws.times)
        found = unet(noisy, draws.times, states, added_cond_kwargs=added or None, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(found, draws.epsilon)
        loss.backward()
        for weight in weights.values():
            # What is not read, as the last layer of SDXL's encoders, has no gradient, and decays all the same.
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.nn.utils.clip_grad_norm_(weights.values(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, {name: weight.detach() for name, weight in weights.items()}

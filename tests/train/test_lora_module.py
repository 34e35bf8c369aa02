import json
import shutil

import pytest
import torch
from diffusers import DDPMScheduler

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.diffusion import random_draws
from lorakiln.families import load_family
from lorakiln.optim.state import take_state
from lorakiln.train.share import Share
from lorakiln.train.validation import compute_validation_loss


def one_step(module, step):
    """`training_step` up to the update, which `apply_update` makes."""
    module.done, module._update = step, lambda step: None
    module.training_step(0, step)
    del module._update


def apply_update(module, step):
    module.optimizers = lambda use_pl_optimizer: module.optimizer
    module._update(step)


def test_a_fresh_adapter_is_the_base_bit_for_bit(make_module, micro_model):
    module, base = make_module(), load_family(micro_model, ("network",))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    told = {"prompt_embeds": torch.randn(2, 32, 24, generator=generator)}
    with torch.no_grad():
        a, b = (family.predict(x, torch.tensor([3, 900]), told) for family in (module.family, base))
    assert torch.equal(a, b)


def test_only_the_adapter_trains_and_all_of_it(make_module):
    module = make_module()
    trained = {name for name, p in module.network.named_parameters() if p.requires_grad}
    assert trained == set(module.flat.names) == {n for n, _ in module.network.named_parameters() if "lora_" in n}
    frozen = {name: p.clone() for name, p in module.network.named_parameters() if name not in trained}
    one_step(module, 0)
    norms = {name: g.norm().item() for name, g in module.flat.split(module.flat.gradients).items()}
    # B is zero at first: it alone has a gradient then, since A's is multiplied by it.
    assert all((norm > 0) == ("lora_B" in name) for name, norm in norms.items())
    apply_update(module, 0)
    one_step(module, 1)
    norms = {name: g.norm().item() for name, g in module.flat.split(module.flat.gradients).items()}
    assert all(norm > 0 for norm in norms.values())
    apply_update(module, 1)
    assert all(torch.equal(p, frozen[n]) for n, p in module.network.named_parameters() if n in frozen)
    assert all(p.grad is None for name, p in module.network.named_parameters() if name not in trained)


def test_the_loss_is_that_of_a_plain_implementation(make_module):
    module = make_module(objective={"min_snr_gamma": 5.0, "caption_dropout": 0.5, "noise_offset": 0.1})
    scheduler = DDPMScheduler.from_config(module.family.process.config)
    for step in range(4):
        samples = module.schedule(step)
        draws = random_draws.make_draws(
            3,
            step,
            (4, *module.encoded.buckets[samples.bucket].mean.shape[2:]),
            module.settings.objective,
            module.family.process,
        )
        bucket = module.encoded.buckets[samples.bucket]
        losses = []
        for i, (picture, variant) in enumerate(zip(samples.pictures, samples.variants, strict=True)):
            row, t = module.trained[samples.bucket][picture], draws.times[i : i + 1]
            latents = bucket.mean[row, variant] + bucket.std[row, variant] * draws.posterior[i]
            noisy = scheduler.add_noise(latents[None], draws.epsilon[i : i + 1], t)
            told = (
                module.encoded.empty["prompt_embeds"]
                if draws.dropped[i]
                else bucket.conditioning["prompt_embeds"][row][None]
            )
            predicted = module.network(noisy, t, told).sample
            snr = scheduler.alphas_cumprod[t] / (1 - scheduler.alphas_cumprod[t])
            mse = torch.nn.functional.mse_loss(predicted, draws.epsilon[i : i + 1])
            losses.append((snr.clamp(max=5) / snr * mse).item())
        whole = module.loss(samples, draws, slice(0, 4)).item()
        assert whole == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_each_blocks_gradient_norm_is_that_before_clipping(make_module):
    """Of every second step here; with rates of parts a block may lie in several places of the flat vector."""
    rates = {"part_lrs": {"up_blocks.*.attn2": 1e-3, "mid_block": 1e-4}}
    module = make_module(max_grad_norm=1e-4, tracker={"log_every": 2}, optimizer=rates)
    one_step(module, 0)
    apply_update(module, 0)
    assert module.block_norms.read() == {}
    one_step(module, 1)
    blocks = {}
    for name, gradient in module.flat.split(module.flat.gradients).items():
        block = name.split(".")[0] if name.startswith("mid_block") else ".".join(name.split(".")[:2])
        blocks.setdefault(f"grad_norm/{block}", []).append(gradient.clone())
    apply_update(module, 1)
    found = module.block_norms.read()
    assert "grad_norm/mid_block" in found and "grad_norm/up_blocks.1" in found
    assert found == pytest.approx({name: torch.nn.utils.get_total_norm(some).item() for name, some in blocks.items()})
    module.step_losses.read()
    assert sum(value**2 for value in found.values()) ** 0.5 == pytest.approx(module.step_losses.norms[1])
    assert module.block_norms.read() == {}


def test_updates_are_those_of_adamw_and_clip_grad_norm(make_module):
    module = make_module(max_grad_norm=0.01, optimizer={"weight_decay": 0.1}, scheduler={"warmup_steps": 3})
    plain = {name: p.clone().requires_grad_() for name, p in module.flat.split(module.flat.weights.data).items()}
    optimizer = torch.optim.AdamW(plain.values(), lr=1.0, weight_decay=0.1, fused=False, foreach=False)
    for step in range(5):
        one_step(module, step)
        for name, gradient in module.flat.split(module.flat.gradients).items():
            plain[name].grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(plain.values(), 0.01)
        assert norm > 0.01
        optimizer.param_groups[0]["lr"] = 1e-2 * min(step / 3, 1)
        optimizer.step()
        apply_update(module, step)
        module.step_losses.read()
        assert module.step_losses.norms[-1] == pytest.approx(norm.item(), rel=1e-5)
    for name, weights in module.flat.split(module.flat.weights.data).items():
        torch.testing.assert_close(weights, plain[name].data, rtol=1e-5, atol=1e-7)


def test_parts_with_a_learning_rate_of_their_own(make_module):
    rates = {"up_blocks": 3e-2, "down_blocks": 0.0, "down_blocks.0.attentions.0.transformer_blocks.0.attn2": 1e-3}
    module = make_module(optimizer={"part_lrs": rates, "weight_decay": 0.1}, scheduler={"warmup_steps": 3})
    before = {name: p.clone() for name, p in module.flat.split(module.flat.weights.data).items()}
    plain = {name: p.clone().requires_grad_() for name, p in before.items()}
    own = {name: next((part for part in sorted(rates, reverse=True) if name.startswith(part)), "") for name in plain}
    assert set(own.values()) == {"", *rates} - ({""} if not any(n.startswith("mid_block") for n in own) else set())
    optimizer = torch.optim.AdamW([{"params": [p], "part": own[n]} for n, p in plain.items()], weight_decay=0.1)
    for step in range(5):
        one_step(module, step)
        for name, gradient in module.flat.split(module.flat.gradients).items():
            plain[name].grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(plain.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rates.get(group["part"], 1e-2) * min(step / 3, 1)
        optimizer.step()
        apply_update(module, step)
    for name, weights in module.flat.split(module.flat.weights.data).items():
        torch.testing.assert_close(weights, plain[name].data, rtol=1e-5, atol=1e-7)
        assert torch.equal(weights, before[name]) == (own[name] == "down_blocks"), name
    assert module.part_rates(1) == {f"lr/{part}": pytest.approx(rate / 3) for part, rate in rates.items()}


def test_a_part_that_nothing_trained_belongs_to(make_module):
    with pytest.raises(UserError, match=r"part_lrs: no trained module's name begins with 'up_block',.*\n.*up_blocks.1"):
        make_module(optimizer={"part_lrs": {"up_block": 1e-3}})


@pytest.mark.parametrize("micro", [1, 2])
def test_micro_batches_add_up_to_the_batch(make_module, micro):
    whole, parts = make_module(), make_module(micro_batch=micro)
    for step in range(4):
        one_step(whole, step)
        one_step(parts, step)
        scale = whole.flat.gradients[:-1].norm()
        assert (whole.flat.gradients - parts.flat.gradients).norm() < 1e-5 * scale
        apply_update(whole, step)
        apply_update(parts, step)


def test_the_shares_of_two_devices_add_up_to_the_batch(make_module, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    whole, both = make_module(), [make_module(share=Share(rank, 2)) for rank in (0, 1)]
    one_step(whole, 0)
    for module in both:
        one_step(module, 0)
    total = both[0].flat.gradients + both[1].flat.gradients
    torch.testing.assert_close(total, whole.flat.gradients, rtol=1e-4, atol=1e-7)


@pytest.fixture
def with_own_batches(micro_encoded, tmp_path):
    """The same pictures, every second of a dataset with batches of two."""
    encoded = tmp_path / "own"
    shutil.copytree(micro_encoded, encoded)
    index = read_json(encoded / "index.json")
    for bucket in index["buckets"]:
        for row in bucket["rows"][::2]:
            row["rules"] = {"batch_size": 2}
    write_json(encoded / "index.json", index)
    return encoded


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 1}, {"micro_batch": 4, "batch_size": 8}])
def test_a_datasets_own_batch_is_a_mean_of_its_own_on_any_number_of_devices(
    make_module, with_own_batches, monkeypatch, changes
):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    whole = make_module(encoded=with_own_batches, **{**changes, "micro_batch": None})
    parts = [make_module(encoded=with_own_batches, share=Share(rank, 2), **changes) for rank in (0, 1)]
    kinds = set()
    for step in range(6):
        samples, rows = whole.schedule(step), whole.encoded.buckets[whole.schedule(step).bucket].rows
        own = {rows[row].rules.batch_size for row in whole.trained[samples.bucket][samples.pictures].tolist()}
        assert len(own) == 1 and len(samples) == (own.pop() or whole.settings.batch_size)
        kinds.add(len(samples))
        for module in (whole, *parts):
            one_step(module, step)
        total = parts[0].flat.gradients + parts[1].flat.gradients
        torch.testing.assert_close(total, whole.flat.gradients, rtol=1e-4, atol=1e-7)
        # The loss is the mean over the batch, whatever its size.
        draws = whole.make_draws(step, samples)
        alone = [whole.loss(samples, draws, slice(place, place + 1)).item() for place in range(len(samples))]
        assert whole.flat.gradients[-1].item() == pytest.approx(sum(alone), rel=1e-4)
    assert kinds == {2, whole.settings.batch_size}


@pytest.mark.parametrize("kind", ["adamw", "sign", "rows"])  # masked on the device, and left out
def test_what_is_not_finite_changes_nothing_from_then_on(added_kinds, make_module, kind):
    module = make_module(optimizer={"kind": kind})
    for step in range(2):
        one_step(module, step)
        apply_update(module, step)
    assert module.step_losses.read() is None
    before, (record, tensors) = module.flat.weights.detach().clone(), take_state(module.optimizer, module.owners)
    record, tensors = json.dumps(record), {name: tensor.clone() for name, tensor in tensors.items()}
    one_step(module, 2)
    module.flat.gradients[5] = float("inf")
    apply_update(module, 2)
    one_step(module, 3)
    apply_update(module, 3)
    assert module.step_losses.read() == 2
    assert torch.equal(module.flat.weights, before)
    assert module.done == 4  # else the end would never be reached
    now, its = take_state(module.optimizer, module.owners)
    assert json.dumps(now) == record
    assert all(torch.equal(its[name], tensor) for name, tensor in tensors.items()) and len(tensors) > 1


def test_checkpointed_activations_give_the_same_gradients(make_module):
    plain, saving = make_module(), make_module()
    saving.network.enable_gradient_checkpointing()
    saving.network.train()
    for module in (plain, saving):
        one_step(module, 0)
    assert torch.equal(plain.flat.gradients, saving.flat.gradients)
    assert plain.flat.gradients.norm() > 0


def test_in_bf16_the_adapter_stays_float32(make_module):
    # As on a GPU; autocast does on the CPU what it does there.
    exact, module = make_module(), make_module(share=Share(bf16=True))
    module.family.dtype = torch.bfloat16
    for name, parameter in module.network.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16()
    for step in range(2):
        for one in (exact, module):
            one_step(one, step)
        assert module.flat.gradients[-1].item() == pytest.approx(exact.flat.gradients[-1].item(), rel=0.02)
        off = (module.flat.gradients - exact.flat.gradients)[:-1].norm()
        assert off < 0.1 * exact.flat.gradients[:-1].norm()
        for one in (exact, module):
            apply_update(one, step)
    assert {p.dtype for name, p in module.network.named_parameters() if "lora_" in name} == {torch.float32}


def test_dropout_is_decided_by_seed_and_step(make_module):
    """Two steps that see the same pictures and the same noise differ by what the adapter drops alone."""

    def gradients(step, seed=3, dropout=0.5):
        module = make_module(adapter={"dropout": dropout}, seed=seed)
        same = make_module()
        samples = same.schedule(0)
        draws = same.make_draws(0, samples)
        module.schedule, module.make_draws = lambda step: samples, lambda step, samples: draws
        module.flat.weights.data.copy_(same.flat.weights.data)
        module.network.train()
        torch.rand(step + seed)  # whatever came before
        one_step(module, step)
        return module.flat.gradients.clone()

    assert torch.equal(gradients(1), gradients(1))
    assert not torch.equal(gradients(1), gradients(2))
    assert not torch.equal(gradients(1), gradients(1, seed=4))
    assert torch.equal(gradients(1, dropout=0.0), gradients(2, dropout=0.0))


def test_devices_drop_apart(make_module, monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    seeds = []
    for rank, step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        one_step(make_module(adapter={"dropout": 0.5}, share=Share(rank, 2)), step)
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == 4


def test_flat_weights_are_the_networks(make_module):
    module = make_module()
    name = module.flat.names[-1]
    module.flat.split(module.flat.weights.data)[name].fill_(7.0)
    assert (dict(module.network.named_parameters())[name] == 7).all()
    named = {name: part.clone() for name, part in module.flat.split(module.flat.weights.data).items()}
    assert torch.equal(module.flat.join(named), module.flat.weights.data)
    assert module.flat.count == sum(part.numel() for part in named.values())


def test_the_network_is_told_of_each_variant_where_it_was_taken(make_module, micro_encoded, tmp_path):
    encoded = tmp_path / "encoded"
    shutil.copytree(micro_encoded, encoded)
    index = read_json(encoded / "index.json")
    for number, bucket in enumerate(index["buckets"]):
        tensors, _ = load_tensors(encoded / bucket["file"])
        count = len(bucket["rows"])
        tensors["time_ids"] = torch.arange(count * 12.0).view(count, 2, 6) + 100 * number
        save_tensors(encoded / f"{number}.safetensors", tensors)
        bucket["file"] = f"{number}.safetensors"
    write_json(encoded / "index.json", index | {"by_variant": ["time_ids"]})
    module = make_module(encoded=encoded, objective={"caption_dropout": 0.5}, validation={"draws": 2})
    told, predict = [], module.family.predict
    module.family.predict = lambda x, t, given: told.append(given["time_ids"]) or predict(x, t, given)
    seen = set()
    for step in range(6):
        samples = module.schedule(step)
        one_step(module, step)
        rows = module.trained[samples.bucket][samples.pictures]
        expected = module.encoded.buckets[samples.bucket].conditioning["time_ids"][rows, samples.variants]
        assert torch.equal(told.pop(), expected)
        seen |= set(samples.variants.tolist())
    assert seen == {0, 1}
    held_out = [[0] for _ in module.encoded.buckets]
    compute_validation_loss(module, held_out)
    # Validation is of the plain pictures.
    for bucket, given in zip(module.encoded.buckets, told, strict=True):
        assert torch.equal(given, bucket.conditioning["time_ids"][:1, 0].expand(len(given), -1))

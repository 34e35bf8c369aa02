"""Drawing, against diffusers' own pipeline."""

import json
import shutil

import numpy as np
import peft
import pytest
import torch
from diffusers import DDIMScheduler

from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.sampling import DrawJob, draw, follow_noise_schedule

JOBS = [DrawJob(prompt, seed, 32, 32) for prompt, seed in (("a red cat", 1), ("blue", 2), ("a red cat", 3))]


def arrays(family, jobs, **options):
    settings = {"steps": 3, "guidance": 5.0, "batch_size": 2} | options
    return [np.asarray(picture) for picture in draw(family, jobs, **settings)]


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_equals_diffusers(micro_family, guidance):
    pipeline = micro_family.pipeline()
    expected = pipeline(
        [job.prompt for job in JOBS],
        negative_prompt=["ugly"] * 3,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(job.seed) for job in JOBS],
        width=48,
        height=32,
        output_type="np",
    ).images
    jobs = [DrawJob(job.prompt, job.seed, 48, 32) for job in JOBS]
    found = arrays(micro_family, jobs, steps=4, guidance=guidance, negative_prompt="ugly", batch_size=3)
    assert np.stack(found).shape == (3, 32, 48, 3)
    assert np.abs(np.stack(found) - expected * 255).max() <= 0.502  # rounding


def test_the_schedule_of_a_loras_training_is_followed_as_diffusers_does(tmp_path, micro_model, capsys):
    """A model that predicts v, to the end of its noise and in trailing steps; one that predicts epsilon cannot."""
    folder = shutil.copytree(micro_model.path, tmp_path / "sd")
    scheduler = folder / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "v_prediction"}))
    family = load_family(micro_model.model_copy(update={"path": str(folder)}))
    follow_noise_schedule(family, False, tmp_path / "x.safetensors")
    plain = arrays(family, JOBS[:1], steps=4)
    follow_noise_schedule(family, True, tmp_path / "x.safetensors")
    (found,) = arrays(family, JOBS[:1], steps=4, batch_size=1)
    pipeline = load_family(micro_model.model_copy(update={"path": str(folder)})).pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    )
    noise = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 4, "guidance_scale": 5.0, "generator": noise, "width": 32, "height": 32}
    (expected,) = pipeline(JOBS[0].prompt, output_type="np", **options).images
    assert np.abs(found - expected * 255).max() <= 0.502  # rounding
    assert np.abs(found.astype(int) - plain[0].astype(int)).max() > 2
    assert not capsys.readouterr().err

    epsilon = load_family(micro_model, ())
    before = epsilon.process
    follow_noise_schedule(epsilon, True, tmp_path / "x.safetensors")
    assert epsilon.process is before
    assert "x.safetensors: trained with zero terminal SNR, and drawn without: this base pred" in capsys.readouterr().err


def test_prompt_seed_guidance_and_negative_prompt_matter(micro_family):
    first = arrays(micro_family, JOBS[:1])[0]
    others = [
        arrays(micro_family, [DrawJob("blue", 1, 32, 32)]),
        arrays(micro_family, [DrawJob("a red cat", 2, 32, 32)]),
        arrays(micro_family, JOBS[:1], guidance=2.0),
        arrays(micro_family, JOBS[:1], negative_prompt="blue"),
        arrays(micro_family, JOBS[:1], encoding=PromptEncoding(clip_skip=2)),
    ]
    assert all(not np.array_equal(first, other[0]) for other in others)


def test_a_picture_does_not_depend_on_its_neighbours(micro_family):
    together = arrays(micro_family, JOBS)
    alone = [arrays(micro_family, [job])[0] for job in JOBS]
    backwards = arrays(micro_family, JOBS[::-1])[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert np.array_equal(a, b) and np.array_equal(a, c)


def test_a_batch_is_counted_before_its_pictures_are_handed_out(micro_family):
    told = []
    pictures = draw(micro_family, JOBS, 2, 5.0, batch_size=2, done=told.append)
    counted = [(next(pictures), list(told))[1] for _ in JOBS]
    assert counted == [[2], [2], [2, 1]]


def test_sizes_may_be_mixed(micro_family):
    jobs = [DrawJob("a", 1, 32, 32), DrawJob("b", 2, 48, 32), DrawJob("c", 3, 32, 32)]
    found = arrays(micro_family, jobs)
    assert [array.shape for array in found] == [(32, 32, 3), (32, 48, 3), (32, 32, 3)]
    assert np.array_equal(found[2], arrays(micro_family, jobs[2:])[0])


def test_all_batches_have_one_shape(micro_family, monkeypatch):
    shapes, predict = set(), micro_family.predict
    monkeypatch.setattr(micro_family, "predict", lambda *a: (shapes.add(tuple(a[0].shape)), predict(*a))[1])
    assert len(arrays(micro_family, JOBS)) == 3
    assert shapes == {(4, 4, 8, 8)}


def test_modes_are_put_back_and_drop_out_is_off(micro_model):
    family = load_family(micro_model)
    expected = arrays(family, JOBS[:1])
    family.network.train()
    family.network.conv_in.eval()
    for module in family.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert np.array_equal(arrays(family, JOBS[:1]), expected)
    assert family.network.training and not family.network.conv_in.training


def test_an_adapter_that_is_switched_off_leaves_the_base_bit_for_bit(micro_model):
    family = load_family(micro_model)
    base = arrays(family, JOBS)
    config = peft.LoraConfig(r=2, target_modules=family.target_modules("attention"), init_lora_weights=False)
    family.network.add_adapter(config)
    adapted = arrays(family, JOBS)
    family.network.disable_adapters()
    assert all(np.array_equal(a, b) for a, b in zip(base, arrays(family, JOBS), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(base, adapted, strict=True))


def test_pictures_that_are_not_finite_are_refused(micro_model):
    family = load_family(micro_model)
    family.network.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN or infinite"):
        arrays(family, JOBS[:1])


def test_out_of_memory_halves_the_batch_and_draws_every_picture(micro_family, monkeypatch, capsys):
    expected, decode = arrays(micro_family, JOBS, batch_size=1), micro_family.decode_latents

    def small(latents):
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    monkeypatch.setattr(micro_family, "decode_latents", small)
    found = arrays(micro_family, JOBS, batch_size=4)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)) and len(found) == len(JOBS)
    assert capsys.readouterr().err.count("out of memory") == 1


def test_no_memory_for_one_picture_is_a_users_error(micro_family, monkeypatch):
    def none(latents):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(micro_family, "decode_latents", none)
    with pytest.raises(UserError, match="drawing: out of memory with one picture at once"):
        arrays(micro_family, JOBS, batch_size=4)


def test_nothing_to_draw(micro_family):
    assert arrays(micro_family, []) == []

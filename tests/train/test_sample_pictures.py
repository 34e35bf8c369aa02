"""Samples drawn while training: what is read and drawn at once, and what happens without memory."""

from dataclasses import replace

import pytest
import torch

from lorakiln.families import cpu_threads
from lorakiln.families.prompt_encoding import PLAIN
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.train import assembly, memory_fit

PROMPTS = ["a red cat", "a blue cat", "an old cat"]


@pytest.fixture
def sampled(make_settings):
    """Settings of a run that draws three prompts from two seeds at steps 0, 1 and 2."""
    samples = {"every": 1, "steps": 1, "prompts": PROMPTS, "seeds": [0, 1]}
    return make_settings(steps=2, samples=samples)


def test_every_prompt_is_read_once_in_a_run(train_micro, sampled, monkeypatch):
    asked, encode_prompts = [], StableDiffusion.encode_prompts

    def noted(self, prompts, encoding=PLAIN):
        asked.append(list(prompts))
        return encode_prompts(self, prompts, encoding)

    monkeypatch.setattr(StableDiffusion, "encode_prompts", noted)
    out = train_micro(sampled)
    assert asked == [[""], *([prompt] for prompt in PROMPTS)]
    assert len(list(out.glob("samples/step-*/*.png"))) == 3 * 6


def test_no_memory_to_read_prompts_does_not_end_the_training(train_micro, sampled, monkeypatch, capsys):
    def none(self, prompts, encoding=PLAIN):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusion, "encode_prompts", none)
    assert (train_micro(sampled) / "facts.json").is_file()
    assert "warning: no samples at step 2: drawing samples: out of memory with one picture" in capsys.readouterr().err


@pytest.mark.parametrize(("free", "taken"), [(10**12, 6), (0, 1)])
def test_as_many_are_drawn_at_once_as_were_counted_to_fit(train_micro, sampled, monkeypatch, free, taken):
    sizes, decode = [], StableDiffusion.decode_latents

    def noted(self, latents):
        if latents.device.type != "meta":
            sizes.append(len(latents))
        return decode(self, latents)

    count = assembly.count_memory
    monkeypatch.setattr(cpu_threads, "LARGE", 0)
    monkeypatch.setattr(memory_fit, "read_free_memory", lambda device: free)
    # On a GPU, so far as room is made; steps that take next to nothing leave no more to the samples.
    monkeypatch.setattr(
        assembly, "count_memory", lambda wanted: replace(count(wanted), on_gpu=True, step=0, validation=0)
    )
    monkeypatch.setattr(StableDiffusion, "decode_latents", noted)
    train_micro(sampled)
    assert set(sizes) == {taken}

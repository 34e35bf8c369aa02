"""What a drawn picture depends on beside its prompt, seed and LoRA."""

import pytest
import torch

from lorakiln.evaluate.drawing_key import describe_pictures
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding
from lorakiln.schema.evaluate import EvaluateSettings


@pytest.fixture
def describe(micro_model):
    def describe(device="cpu", encoding=PLAIN, zero_terminal_snr=False, **settings):
        asked = EvaluateSettings(prompts=["a cat"], seeds=[0], weights=[0, 1], **settings)
        return describe_pictures(asked, micro_model, torch.device(device), encoding, zero_terminal_snr)

    return describe


def test_all_that_changes_bits_changes_what_a_picture_is_known_by(describe):
    known = [
        describe(),
        describe(device="meta"),
        describe(precision="bf16"),
        describe(precision="fp16"),
        describe(encoding=PromptEncoding(clip_skip=2)),
        describe(zero_terminal_snr=True),
    ]
    assert len(set(known)) == len(known)
    # "auto" on a processor is fp32, and known as that.
    assert describe(precision="auto") == describe(precision="fp32") == describe()


def test_a_size_of_ones_own_is_taken_before_the_models(describe):
    assert describe()[0] == (32, 32)
    assert describe(width=48)[0] == (48, 32)

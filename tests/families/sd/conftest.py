"""Models in single files, what is compared of them, and folders to spoil."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.tools.convert_base import convert_base
from tests.conftest import write_text
from tests.families.single_files import equal, single_of

TEXTS = ["a red cat", ""]


@pytest.fixture(scope="session")
def tensors(micro_model, tmp_path_factory):
    """The micro model under the names of Stable Diffusion 1.x' single files."""
    file = tmp_path_factory.mktemp("single") / "micro.safetensors"
    convert_base(Path(micro_model.path), file)
    return load_tensors(file)[0]


@pytest.fixture
def single(micro_model, tensors, tmp_path):
    """Settings that name the micro model's single file."""
    save_file(tensors, tmp_path / "my model.safetensors")
    return single_of(micro_model, tmp_path / "my model.safetensors")


def assert_same(found, expected):
    for name in ("vae", "network", "text_encoder", "text_encoder_2"):
        if name in vars(expected):
            assert equal(getattr(found, name).state_dict(), getattr(expected, name).state_dict()), name
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([3, 900])
    told, wanted = (family.encode_prompts(TEXTS, PromptEncoding(clip_skip=2)) for family in (found, expected))
    assert equal(told, wanted)
    # The same numbers elsewhere in memory may take another path through a convolution.
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.predict(latents, steps, told), expected.predict(latents, steps, wanted), **close)
    torch.testing.assert_close(found.decode_latents(latents), expected.decode_latents(latents), **close)
    assert torch.equal(found.process.alphas_cumprod, expected.process.alphas_cumprod)
    assert found.facts["version"] == expected.facts["version"]


@pytest.fixture
def copy(micro_model, tmp_path):
    """A copy of the micro model to spoil, and its settings."""
    shutil.copytree(micro_model.path, tmp_path / "sd")
    return micro_model.model_copy(update={"path": str(tmp_path / "sd")})


def edit(path: Path, **changes) -> None:
    write_text(path, json.loads(path.read_text()) | changes)

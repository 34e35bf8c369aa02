"""The files of every family in diffusers: the same change as ours, convolutions and text encoders included."""

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.lora_files.merging import Merged
from lorakiln.schema.model import ModelSettings
from tests.families.reduced import KINDS, write_reduced

TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    folder = write_reduced(tmp_path_factory.mktemp("reduced") / request.param, request.param)
    return ModelSettings(
        family="sdxl" if request.param == "sdxl" else "sd",
        path=str(folder),
        resolution=64,
        bucket_min=32,
        bucket_max=128,
        bucket_step=32,
        captioner={"path": "x"},
        clip={"path": "models/tiny/clip"},
    )


def random_adapter(family, mixed: bool) -> Adapter:
    """On all that `locon` names and on the text encoders; no alpha is the rank; if mixed, they differ."""
    generator, layers = torch.Generator().manual_seed(1), {}

    def layer(weight, number):
        rank = 2 + number % 2 if mixed else 2
        down = 0.2 * torch.randn(rank, *weight.shape[1:], generator=generator)
        up = 0.2 * torch.randn(weight.shape[0], rank, *[1] * (weight.dim() - 2), generator=generator)
        return Layer(down, up, (1.0, 2.5, 4.0)[number % 3] if mixed else 1.0)

    for number, name in enumerate(family.target_modules("locon")):
        layers[f"unet.{name}"] = layer(family.network.get_submodule(name).weight, number)
    for part, encoder in family.adaptable().items():
        for name, module in encoder.named_modules() if part != "unet" else ():
            if name.endswith(TEXT_LAYERS):
                name = name if name.startswith("text_model.") else f"text_model.{name}"
                layers[f"{part}.{name}"] = layer(module.weight, len(layers))
    return Adapter(layers)


def outputs(family):
    """What the text encoders write and what the network predicts from it."""
    told = family.encode_prompts(["a red cat"])
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.cat([value.flatten() for value in told.values()]), family.predict(
            latents, torch.tensor([300]), told
        )


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_diffusers_does_what_ours_does(model, tmp_path, form):
    family, theirs = load_family(model), load_family(model)
    # diffusers loses alphas that differ where it reads kohya's names: docs/lora_files.md. In its own form they hold.
    adapter = random_adapter(family, mixed=form == "diffusers")
    if form == "kohya":
        kohya_form.save(adapter, tmp_path / "x.safetensors", family, {})
    else:
        diffusers_form.save(adapter, tmp_path / "x.safetensors")
    theirs.pipeline().load_lora_weights(tmp_path, weight_name="x.safetensors")
    base = outputs(family)
    merged = Merged(family.adaptable(), adapter)
    merged.set_weights(1.0)
    for ours, found, before in zip(outputs(family), outputs(theirs), base, strict=True):
        torch.testing.assert_close(found, ours, rtol=1e-4, atol=2e-5)
        assert (ours - before).abs().max() > 1e-2

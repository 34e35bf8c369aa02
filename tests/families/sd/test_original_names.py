"""Single files' names at full size, tensor by tensor, against diffusers' own conversion."""

import math

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)

from lorakiln.families.kinds import list_versions
from lorakiln.families.part_tensors import compute_part_shapes, find_origin

ARCHITECTURES = {one.name: one.architecture for one in list_versions()}
PARTS = [(kind, part) for kind, one in ARCHITECTURES.items() for part in one.parts]
# Parameters as published with the models (and the last of OpenCLIP's 24 layers left out).
SIZES = {
    ("sd1", "unet"): 859_520_964,
    ("sd2", "unet"): 865_910_724,
    ("sdxl", "unet"): 2_567_463_684,
    ("sd1", "text_encoder"): 123_060_480,
    ("sd2", "text_encoder"): 340_387_840,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
}
VAE_SIZE = 83_653_863


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_sizes_are_the_published_ones(kind, part):
    shapes = compute_part_shapes(ARCHITECTURES[kind].parts[part])
    assert sum(math.prod(shape) for shape in shapes.values()) == SIZES.get((kind, part), VAE_SIZE)


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_every_tensor_is_where_diffusers_finds_it(kind, part):
    """Every tensor of the file is a number of its own, so that a swap of two of one shape would be seen."""
    architecture = ARCHITECTURES[kind]
    config, prefix = architecture.parts[part], architecture.prefixes[part]
    shapes = compute_part_shapes(config)
    origin = find_origin(config, shapes, prefix)
    origins = {key: origin(key) for key in shapes}
    names = sorted({one.name for one in origins.values()})
    tagged = {prefix + name: tag(number, name) for number, name in enumerate(names)}
    expected = convert(part, prefix, tagged, config)
    assert set(shapes) <= set(expected)
    for key, one in origins.items():
        value = tagged[prefix + one.name]
        value = value.chunk(3)[one.third] if one.third is not None else value
        assert torch.equal(value.T if one.transposed else value, expected[key]), key


def tag(number: int, name: str) -> torch.Tensor:
    if "in_proj_" in name:
        return torch.arange(6.0).reshape(6, 1).expand(6, 2).add(10 * number)[:, : 2 if "weight" in name else 1]
    return (
        torch.tensor([[number, number + 0.5], [number + 0.25, 0]])
        if name == "text_projection"
        else (torch.full((1,), float(number)))
    )


def convert(part: str, prefix: str, tagged: dict, config: dict) -> dict:
    if part == "unet":
        return convert_ldm_unet_checkpoint(dict(tagged), config)
    if part == "vae":
        return convert_ldm_vae_checkpoint(dict(tagged), config)
    if prefix.endswith("transformer."):
        return convert_ldm_clip_checkpoint(dict(tagged), remove_prefix=prefix)
    # The projection's size is what diffusers cuts the three matrices by.
    given = {f"{prefix}text_projection": torch.zeros(2, 2), **tagged}
    model = type("Model", (), {"config": None})
    return convert_open_clip_checkpoint(model, given, prefix=prefix)

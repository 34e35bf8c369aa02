"""A part of a folder is loaded as diffusers and transformers load it, bit for bit, and is in memory once."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel

from lorakiln.console.errors import UserError
from lorakiln.families.part_files import FolderPart
from tests.families.reduced import write_reduced

CLASSES = {
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
SHARD = {"vae": "60KB", "unet": "1500KB", "text_encoder": "60KB", "text_encoder_2": "60KB"}
WEIGHTS = "diffusion_pytorch_model.safetensors"
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Reduced models of every topology, and the embedded one, whose files are in half precision."""
    parent = tmp_path_factory.mktemp("parts")
    return {kind: write_reduced(parent / kind, kind) for kind in ("sd15", "sd21", "sdxl")} | {
        "tiny": Path("models/tiny/sd")
    }


@pytest.fixture
def copied(folders, tmp_path):
    """A reduced SDXL to spoil."""
    return Path(shutil.copytree(folders["sdxl"], tmp_path / "sdxl"))


def theirs(folder: Path, dtype: torch.dtype, **options):
    kind = CLASSES[folder.name]
    named = {"dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype": dtype}
    return kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, **named, **options).eval()


def ours(folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None):
    return FolderPart(folder, variant).load(CLASSES[folder.name], dtype).eval()


@torch.no_grad()
def output(module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(module, PreTrainedModel):
        tokens = torch.randint(0, module.config.vocab_size, (2, 9), generator=generator)
        return module(tokens, output_hidden_states=True).hidden_states[-2]
    if isinstance(module, AutoencoderKL):
        return module(torch.randn(1, 3, 32, 32, generator=generator).to(module.dtype)).sample
    text = torch.randn(2, 9, module.config.cross_attention_dim, generator=generator).to(module.dtype)
    added = {"text_embeds": torch.ones(2, 20, dtype=module.dtype), "time_ids": torch.ones(2, 6)}  # of SDXL alone
    latents = torch.randn(2, module.config.in_channels, 16, 16, generator=generator).to(module.dtype)
    return module(latents, torch.tensor([3, 900]), text, added_cond_kwargs=added).sample


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl", "tiny"])
def test_parts_are_the_libraries_own_bit_for_bit(folders, kind, dtype):
    parts = [folders[kind] / name for name in CLASSES if (folders[kind] / name).is_dir()]
    assert len(parts) == (4 if kind == "sdxl" else 3)
    for folder in parts:
        found, expected = ours(folder, dtype), theirs(folder, dtype)
        assert type(found) is type(expected) and found.dtype == dtype
        for of in ("named_parameters", "named_buffers"):
            left, right = dict(getattr(found, of)()), dict(getattr(expected, of)())
            assert left.keys() == right.keys()
            for name, value in right.items():
                assert torch.equal(left[name], value) and left[name].dtype == value.dtype, name
                assert left[name].stride() == value.stride(), name
        assert torch.equal(output(found), output(expected)), folder


def mapped(file: Path) -> list[tuple[int, int]]:
    """Where a file is mapped in this process."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    return [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in lines]


@pytest.mark.parametrize("name", CLASSES)
def test_weights_that_have_the_dtype_are_the_file_itself(copied, name):
    module = ours(copied / name)
    (file,) = (copied / name).glob("*.safetensors")
    spans = mapped(file)
    for key, value in module.state_dict().items():
        assert any(start <= value.data_ptr() < end for start, end in spans), key


def memory(line: str) -> int:
    """MiB of this process: VmRSS now, VmHWM the most since it was last cleared."""
    (found,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(line)]
    return int(found.split()[1]) // 1024


def test_weights_that_are_converted_are_never_in_memory_beside_the_files(tmp_path):
    config = CLIPTextConfig(
        vocab_size=100, hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8
    )
    folder = tmp_path / "text_encoder"
    with torch.device("meta"):
        large = CLIPTextModel(config)
    large.to_empty(device="cpu").apply(lambda module: [weight.data.zero_() for weight in module.parameters()])
    large.save_pretrained(folder)
    del large
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 2**20
    assert size > 140
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew
    before = memory("VmRSS")
    module = ours(folder, torch.bfloat16)
    assert memory("VmHWM") - before < 0.8 * size  # half of it is the result
    assert module.dtype == torch.bfloat16


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_written_to_loaded_weights_does_not_reach_the_file(copied, name):
    (file,) = (copied / name).glob("*.safetensors")
    before = file.read_bytes()
    module = ours(copied / name)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1)
    assert file.read_bytes() == before
    assert not torch.equal(output(module), output(ours(copied / name)))


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("name", CLASSES)
def test_shards(copied, tmp_path, name, variant):
    whole = theirs(copied / name, torch.float32)
    folder = tmp_path / "shards" / name
    whole.save_pretrained(folder, max_shard_size=SHARD[name], variant=variant)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    found, expected = ours(folder, variant=variant), theirs(folder, torch.float32, variant=variant)
    assert torch.equal(output(found), output(expected)) and torch.equal(output(found), output(whole))
    # A shard that an earlier, longer set left behind.
    save_file({"x": torch.zeros(1)}, shards[0].with_name(shards[0].name.replace("00001-of", "00099-of")))
    assert torch.equal(output(ours(folder, variant=variant)), output(whole))
    shards[1].unlink()
    with pytest.raises(UserError, match=f"lists files that are not there: {shards[1].name}"):
        ours(folder, variant=variant)
    next(folder.glob("*.index*.json")).unlink()
    with pytest.raises(UserError, match=rf"it lacks \d+ tensors of its {CLASSES[name].__name__}: "):
        ours(folder, variant=variant)


def change(file: Path, rename=lambda name: name, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {rename(name): value for name, value in load_file(file).items()} | more
    save_file(tensors, file, {"format": "pt"})
    return tensors


def test_old_names_of_the_vaes_attention(copied):
    """As in the folders of Stable Diffusion 1.x."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name: str) -> str:
        for new, one in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{one}.")
        return name

    expected = ours(copied / "vae").state_dict()
    names = change(copied / "vae" / WEIGHTS, rename)
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in names
    found, reference = ours(copied / "vae"), theirs(copied / "vae", torch.float32)
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(found.state_dict()[name], value) for name, value in expected.items())
    assert torch.equal(output(found), output(reference))


@pytest.mark.parametrize("name", ["text_encoder", "text_encoder_2"])
def test_text_encoders_as_older_libraries_saved_them(copied, name):
    expected = output(ours(copied / name))
    kept = ("text_model.", "text_projection.")
    more = {"text_model.embeddings.position_ids": torch.arange(32)[None], "vision_model.x": torch.zeros(1)}
    change(
        copied / name / "model.safetensors", lambda one: one if one.startswith(kept) else f"text_model.{one}", **more
    )
    found = ours(copied / name)
    assert torch.equal(output(found), expected) and torch.equal(output(theirs(copied / name, torch.float32)), expected)
    # A config that does not name the class, with what old versions wrote into it.
    file = copied / name / "config.json"
    config = json.loads(file.read_text())
    del config["architectures"]
    file.write_text(
        json.dumps({**config, "torch_dtype": "float16", "transformers_version": "4.22.0", "_name_or_path": "x"})
    )
    assert torch.equal(output(ours(copied / name)), expected) and ours(copied / name).dtype == torch.float32


def test_what_other_tools_leave_beside_the_weights_is_not_read(copied):
    expected = ours(copied / "unet").conv_in.weight
    tensors = load_file(copied / "unet" / WEIGHTS)
    save_file({name: value + 1 for name, value in tensors.items()}, copied / "unet" / "ema_model.safetensors")
    assert torch.equal(ours(copied / "unet").conv_in.weight, expected)


def without(file: Path, name: str) -> None:
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, {"format": "pt"})


TEXT_2, UNET, VAE = "text_encoder_2/model.safetensors", f"unet/{WEIGHTS}", f"vae/{WEIGHTS}"
FLOAT8 = torch.zeros(8).to(torch.float8_e4m3fn)
SPOILED = {
    "text projection": (TEXT_2, lambda f: without(f, "text_projection.weight"), r"lacks 1 .*: text_projection.weight"),
    "missing": (UNET, lambda f: without(f, "conv_in.bias"), "lacks 1 tensors of its UNet2DConditionMo.*: conv_in.bias"),
    "more": (UNET, lambda f: change(f, other=torch.zeros(1)), "1 tensors more than its config says: other"),
    "shape": (VAE, lambda f: change(f, **{"encoder.conv_in.bias": torch.zeros(3)}), r"encoder.conv_in.bias has the sh"),
    "float8": (UNET, lambda f: change(f, **{"conv_in.bias": FLOAT8}), "stored as float8_e4m3fn"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SPOILED)
def test_weights_that_are_not_their_configs_are_refused_by_name(copied, name, dtype):
    file, spoil, message = SPOILED[name]
    spoil(copied / file)
    with pytest.raises(UserError, match=message) as told:
        ours((copied / file).parent, dtype)
    assert str((copied / file).parent) in str(told.value) and "model.config" not in str(told.value)


def test_a_config_of_no_such_network_is_told(copied):
    file = copied / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": 7}))
    with pytest.raises(UserError, match=r"text_encoder: cannot be loaded \("):
        ours(copied / "text_encoder")

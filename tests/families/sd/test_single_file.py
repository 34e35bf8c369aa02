"""Base models in single files: the same model as their folder, without network, and plain words where they are not."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.part_tensors import to_original_tensors
from tests.conftest import write_text
from tests.families.sd.conftest import assert_same
from tests.families.single_files import KINDS, equal, single_of, weights_of, write_pair


@pytest.fixture(scope="session", params=KINDS)
def pair(request, tmp_path_factory):
    """Settings of a folder and of its single file."""
    return write_pair(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("sdxl alone"), "sdxl")


def test_a_single_file_is_its_folder(single, micro_family):
    found = load_family(single)
    assert_same(found, micro_family)
    assert found.facts["path"] == single.path and found.facts["version"] == "sd_v1"


def test_every_familys_single_file_is_its_folder(pair):
    folder, single = pair
    assert_same(load_family(single), load_family(folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_are_those_of_the_folder(pair, dtype):
    found, expected = (load_family(one, dtype=dtype) for one in pair)
    assert found.vae.dtype == expected.vae.dtype
    assert equal(found.network.state_dict(), expected.network.state_dict())
    assert equal(found.text_encoder.state_dict(), expected.text_encoder.state_dict())


def test_only_what_is_asked_for_is_loaded_and_it_is_the_file_itself(single, tensors):
    family = load_family(single, ("network",))
    assert "vae" not in vars(family) and "text_encoder" not in vars(family)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "my model.safetensors" in line]
    spans = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in mapped]
    for name, value in family.network.state_dict().items():
        assert any(start <= value.data_ptr() < end for start, end in spans), name


def test_the_name_of_a_file_is_no_part_of_its_identity(single, tmp_path):
    hashes = {load_family(single, parts).facts["hash"] for parts in ((), ("text",))}
    moved = Path(single.path).with_name("other.safetensors")
    shutil.move(single.path, moved)
    facts = load_family(single.model_copy(update={"path": str(moved)}), ()).facts
    assert {facts["hash"]} == hashes and facts["path"] == str(moved)


@pytest.mark.parametrize("name", ["model.diffusion_model.out.2.bias", "first_stage_model.decoder.conv_out.weight"])
@pytest.mark.parametrize("whole", [200_000_000, 0])
def test_another_content_is_another_model(single, tensors, monkeypatch, name, whole):
    monkeypatch.setattr("lorakiln.families.identity.WHOLE", whole)
    before = load_family(single, ()).facts["hash"]
    save_file({**tensors, name: tensors[name] + 1}, single.path)
    assert load_family(single, ()).facts["hash"] != before
    save_file({**tensors, "model_ema.decay": torch.ones(1)}, single.path)  # what no part reads
    assert load_family(single, ()).facts["hash"] == before


@pytest.mark.parametrize("zipped", [True, False])
def test_an_old_checkpoint_is_read_when_asked_for(single, micro_model, tensors, tmp_path, zipped):
    file = tmp_path / "old.ckpt"
    torch.save({"state_dict": tensors, "global_step": 7}, file, _use_new_zipfile_serialization=zipped)
    model = single_of(micro_model, file)
    with pytest.raises(UserError, match="pickle.*\n.*model.allow_pickle=true"):
        load_family(model)
    model = model.model_copy(update={"allow_pickle": True})
    assert load_family(model, ()).facts["hash"] == load_family(single, ()).facts["hash"]
    assert_same(load_family(model), load_family(single))


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_hostile_checkpoint_runs_nothing(micro_model, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": Evil(mark)}, tmp_path / "evil.ckpt")
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps(Evil(mark)))
    for name in ("evil.ckpt", "raw.ckpt"):
        with pytest.raises(UserError, match="more than tensors") as told:
            load_family(single_of(micro_model, tmp_path / name, allow_pickle=True))
        # torch's own words say how to run what is in it.
        assert "weights_only" not in str(told.value) and "trust" not in str(told.value)
    assert not mark.exists()


def test_a_hostile_checkpoint_is_told_with_what_it_names(micro_model, tmp_path):
    (tmp_path / "evil.ckpt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"it holds more than tensors \(os.system\) and is not read"):
        load_family(single_of(micro_model, tmp_path / "evil.ckpt", allow_pickle=True))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_a_pipe_is_no_model(micro_model, tmp_path, ending):
    os.mkfifo(tmp_path / f"pipe{ending}")
    with pytest.raises(UserError, match="a pipe, not a regular file"):
        load_family(single_of(micro_model, tmp_path / f"pipe{ending}", allow_pickle=True))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("unet/config.json", "layers_per_block", 10**8, "layers_per_block is 100000000"),
        ("unet/config.json", "down_block_types", ["a"], "cannot be loaded"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 10**12, "num_train_timesteps is 1000000000000"),
    ],
)
def test_unreasonable_values_of_a_lender_are_told(single, tmp_path, file, key, value, said):
    shutil.copytree(single.config, tmp_path / "lender")
    write_text(tmp_path / "lender" / file, {**read_json(tmp_path / "lender" / file), key: value})
    with pytest.raises(UserError, match=said):
        load_family(single.model_copy(update={"config": str(tmp_path / "lender")}))


@pytest.mark.parametrize("form", ["LDM, prefixed", "LDM", "diffusers", "a whole model"])
@pytest.mark.parametrize("base", ["folder", "file"])
def test_a_vae_in_a_file(micro_model, micro_family, single, tensors, tmp_path, form, base):
    weights = {name: value + 1 for name, value in weights_of(Path(micro_model.path) / "vae").items()}
    prefixed = to_original_tensors(weights, read_json(Path(micro_model.path) / "vae/config.json"), "first_stage_model.")
    alone = {name.removeprefix("first_stage_model."): value for name, value in prefixed.items()}
    forms = {"LDM, prefixed": prefixed, "LDM": alone, "diffusers": weights, "a whole model": {**tensors, **prefixed}}
    save_file(forms[form], tmp_path / "vae.safetensors")
    model = micro_model if base == "folder" else single
    family = load_family(model.model_copy(update={"vae": str(tmp_path / "vae.safetensors")}), ("vae",))
    assert equal(family.vae.state_dict(), weights)
    assert family.vae.config.scaling_factor == 0.5
    assert family.facts["hash"] != load_family(model, ()).facts["hash"]


def test_a_model_without_its_vae_takes_another(single, tensors, micro_model):
    save_file({name: value for name, value in tensors.items() if "first_stage" not in name}, single.path)
    with pytest.raises(UserError, match="no VAE in it.*\n.*model.vae"):
        load_family(single)
    vae = str(Path(micro_model.path) / "vae")
    assert load_family(single.model_copy(update={"vae": vae})).latent_shape(32, 32) == (4, 8, 8)


def test_what_it_predicts(single, tensors):
    def prediction(metadata=None, more=None, **changes) -> str:
        save_file({**tensors, **(more or {})}, single.path, metadata)
        return load_family(single.model_copy(update={"config": lender, **changes}), ()).facts["prediction_type"]

    # A lender's scheduler would say it too.
    lender = str(Path(single.path).with_name("lender"))
    shutil.copytree(single.config, lender, ignore=shutil.ignore_patterns("scheduler"))
    assert prediction() == "epsilon"
    assert prediction({"modelspec.prediction_type": "v"}) == "v_prediction"
    with pytest.raises(UserError, match=r"predicts v_prediction, the settings say epsilon.*\n.*prediction_type=v_pred"):
        prediction({"modelspec.prediction_type": "v"}, prediction_type="epsilon")
    assert prediction(prediction_type="v_prediction") == "v_prediction"  # the file says nothing
    shutil.copytree(Path(single.config) / "scheduler", Path(lender) / "scheduler")
    assert prediction() == "epsilon"
    with pytest.raises(UserError, match=r"scheduler in model.config predicts epsilon, .* v_prediction"):
        prediction(prediction_type="v_prediction")
    shutil.rmtree(Path(lender) / "scheduler")
    assert prediction(more={"v_pred": torch.zeros(1)}) == "v_prediction"
    Path(single.path).with_suffix(".yaml").write_text("model: {params: {parameterization: v}}")
    assert prediction() == "v_prediction"


def test_zero_terminal_snr(single, tensors):
    marks = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    save_file({**tensors, **marks}, single.path)
    lender = Path(single.path).with_name("lender")
    shutil.copytree(single.config, lender, ignore=shutil.ignore_patterns("scheduler"))
    family = load_family(single.model_copy(update={"config": str(lender)}), ())
    assert family.process.alphas_cumprod[-1] < 1e-6 and family.process.prediction_type == "v_prediction"


def test_stable_diffusion_2_must_say_what_it_predicts(tmp_path):
    folder, single = write_pair(tmp_path, "sd21_v")
    shutil.rmtree(Path(folder.path) / "scheduler")
    file = Path(single.path)
    said, metadata = load_tensors(file)
    assert metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v"
    assert load_family(single, ()).facts["version"] == "sd_v2_v"
    save_file({name: value.clone() for name, value in said.items()}, file)
    with pytest.raises(UserError, match="does not say what it predicts.*\n.*model=sd21_v"):
        load_family(single, ())
    assert load_family(single.model_copy(update={"prediction_type": "epsilon"}), ()).facts["version"] == "sd_v2"


def test_a_folder_that_predicts_something_else_is_told(micro_model):
    with pytest.raises(UserError, match="its scheduler says epsilon, but"):
        load_family(micro_model.model_copy(update={"prediction_type": "v_prediction"}), ())


def test_another_family_is_told(sdxl, single):
    with pytest.raises(UserError, match=r"(?s)this is a Stable Diffusion XL checkpoint, but .* says sd .*model=sdxl"):
        load_family(sdxl[1].model_copy(update={"family": "sd"}), ())
    with pytest.raises(UserError, match=r"(?s)this is a Stable Diffusion 1.x checkpoint, but .* sdxl .*model=sd15"):
        load_family(single.model_copy(update={"family": "sdxl"}), ())


ZERO = torch.zeros(1)
OTHERS = {
    "SDXL's refiner.*\n.*no LoRA of it": {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3),
        "conditioner.embedders.0.model.positional_embedding": ZERO,
    },
    "an inpainting model": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)},
    "a UNet without its text": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3)},
    "a LoRA": {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": ZERO},
    "a Flux model": {"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": ZERO},
    "a Stable Diffusion 3": {"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": ZERO},
    "a VAE alone.*\n.*model.vae": {"first_stage_model.encoder.conv_in.weight": ZERO},
    "a folder's parts joined in one": {"vae.quant_conv.weight": ZERO, "unet.conv_in.weight": torch.ones(1)},
    "no model that is known.*": {"vae.decoder.conv_in.weight": ZERO},
    "a ControlNet": {"control_model.time_embed.0.weight": ZERO},
    "no model that is known": {"emb": ZERO},
}


@pytest.mark.parametrize("message", OTHERS)
def test_other_files_are_called_what_they_are(single, message):
    save_file(OTHERS[message], single.path)
    with pytest.raises(UserError, match=f"this is {message}"):
        load_family(single)


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


CONV, KEY = "model.diffusion_model.out.2.weight", "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
DAMAGE = {
    "missing": (lambda t: without(t, KEY), f"lacks 1 tensors of its UNet2DConditionModel: {KEY}"),
    "shape": (lambda t: {**t, CONV: torch.zeros(4, 4, 3, 3)}, r"has the shape \(4, 4, 3, 3\).*\n.*model.config"),
    "more": (lambda t: {**t, "model.diffusion_model.x.1": ZERO}, "1 tensors more than its family's"),
    "float8": (lambda t: {**t, CONV: t[CONV].to(torch.float8_e4m3fn)}, "float8_e4m3fn"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_not_whole_is_refused(single, tensors, name):
    spoil, message = DAMAGE[name]
    save_file(spoil(tensors), single.path)
    with pytest.raises(UserError, match=message):
        load_family(single)


def test_files_that_cannot_be_read(single, tmp_path):
    Path(single.path).write_bytes(Path(single.path).read_bytes()[:5000])
    with pytest.raises(UserError, match="not a readable safetensors"):
        load_family(single)
    (tmp_path / "half.ckpt").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(UserError, match="not (a )?read"):
        load_family(single.model_copy(update={"path": str(tmp_path / "half.ckpt"), "allow_pickle": True}))
    with pytest.raises(UserError, match=r"(?s)no such file.*my model.safetensors"):
        load_family(single.model_copy(update={"path": str(tmp_path / "mine.safetensors")}))
    with pytest.raises(UserError, match="no revisions"):
        load_family(single.model_copy(update={"revision": "main"}))

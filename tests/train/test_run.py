import csv
import json
import re
import shutil

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.sd.blocks import Resnet
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.lora_files import diffusers_form, kohya_metadata
from lorakiln.lora_files.identity import hash_lora
from lorakiln.lora_files.writing import write_lora
from tests.adapters.networks import adapted


def rows_of(path):
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def adapter_of(out, step=12):
    return load_tensors(out / "adapters" / f"step-{step:08d}.safetensors")[0]


# The means of three steps each, on the micro model's random weights.
GOLDEN = [1.09867954, 1.05687459, 1.03276654, 1.00148306]


def test_golden_losses(train_micro, make_settings, monkeypatch):
    predict, blocks = StableDiffusion.predict, set()

    def watched(family, *given):
        blocks.add(type(family.network.mid_block.resnets[0]))
        return predict(family, *given)

    monkeypatch.setattr(StableDiffusion, "predict", watched)
    out = train_micro(make_settings())
    assert blocks == {Resnet}
    rows = rows_of(out / "metrics.csv")
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert [row["loss"] for row in rows] == pytest.approx(GOLDEN, rel=1e-4)


def test_no_memory_for_samples_does_not_end_the_training(train_micro, make_settings, monkeypatch, capsys):
    def none(self, latents):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusion, "decode_latents", none)
    out = train_micro(make_settings(samples={"every": 6, "steps": 2}))
    assert [row["loss"] for row in rows_of(out / "metrics.csv")] == pytest.approx(GOLDEN, rel=1e-4)
    told = capsys.readouterr().err
    assert "warning: no samples at step 6: drawing samples: out of memory with one picture at once" in told
    assert "train.samples.every=0" in told


def test_the_folder_holds_what_later_stages_read(train_micro, make_settings, micro_family, tmp_path):
    settings = make_settings(
        save_every=5,
        validation={"every": 4, "fraction": 0.3, "draws": 4},
        samples={"every": 6, "steps": 2, "seeds": [0]},
    )
    out = train_micro(settings)
    facts = json.loads((out / "facts.json").read_text())
    assert [entry["step"] for entry in facts["adapters"]] == [5, 10, 12]
    validation = {row["step"]: row["loss"] for row in rows_of(out / "validation.csv")}
    assert sorted(validation) == [0, 4, 5, 8, 10, 12]
    for entry in facts["adapters"]:
        assert (out / entry["file"]).is_file()
        assert entry["validation_loss"] == pytest.approx(validation[entry["step"]])
    assert (facts["step"], facts["rank"], facts["alpha"], facts["trigger"]) == (12, 4, 4.0, "sks")
    assert facts["base"] == micro_family.facts
    assert set(facts["settings"]) == {"prepare", "caption", "encode", "model", "train"}
    assert facts["settings"]["train"] == settings.model_dump(mode="json")
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "step-00000000",
        "step-00000006",
        "step-00000012",
    ]
    assert len(list((out / "samples" / "step-00000012").iterdir())) == 4
    assert json.loads((out / "tracker.json").read_text())["kind"] == "csv"
    assert json.loads((out / "provenance.json").read_text())["steps_per_second"] > 0
    # Once the run is in its place, nothing is left for `dvc repro -f`, which trains anew; the last state is for longer
    # runs alone.
    (left,) = (tmp_path / "cache" / "checkpoints").iterdir()
    assert [path.name for path in left.glob("step-*")] == ["step-00000012.safetensors"]


def test_where_the_rate_depends_on_the_steps_no_checkpoint_is_kept(train_micro, make_settings, tmp_path):
    train_micro(make_settings(scheduler={"kind": "cosine"}, checkpoint_every=4))
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []


def test_equal_runs_write_equal_bytes(train_micro, make_settings, read_files):
    settings = make_settings(validation={"every": 6, "fraction": 0.3, "draws": 4}, samples={"every": 6, "steps": 2})
    assert read_files(train_micro(settings, "one")) == read_files(train_micro(settings, "two"))


def test_watching_changes_nothing(train_micro, make_settings):
    # Validation is on in both, since it holds pictures out.
    quiet = make_settings(validation={"every": 100, "fraction": 0.3, "draws": 2}, tracker={"log_every": 100})
    loud = make_settings(
        validation={"every": 1, "fraction": 0.3, "draws": 2},
        tracker={"log_every": 1},
        samples={"every": 4, "steps": 2},
        save_every=1,
        checkpoint_every=2,
    )
    one, two = adapter_of(train_micro(quiet, "quiet")), adapter_of(train_micro(loud, "loud"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_micro_batches_train_the_same_adapter(train_micro, make_settings):
    whole = adapter_of(train_micro(make_settings(), "whole"))
    for micro in (1, 2):
        parts = adapter_of(train_micro(make_settings(micro_batch=micro), f"micro{micro}"))
        off = sum(((whole[name] - parts[name]) ** 2).sum() for name in whole).sqrt()
        assert off < 1e-4 * sum((tensor**2).sum() for tensor in whole.values()).sqrt()


def test_the_loss_falls(train_micro, make_settings):
    settings = make_settings(
        steps=60,
        batch_size=8,
        tracker={"log_every": 60},
        validation={"every": 60, "fraction": 0.2, "draws": 16},
    )
    losses = [row["loss"] for row in rows_of(train_micro(settings) / "validation.csv")]
    assert losses[-1] < 0.95 * losses[0]


def test_rates_and_norms_are_recorded(train_micro, make_settings):
    settings = make_settings(scheduler={"kind": "linear", "warmup_steps": 4}, tracker={"log_every": 1})
    rows = rows_of(train_micro(settings) / "metrics.csv")
    expected = [0, 0.25, 0.5, 0.75, *(1 - step / 8 for step in range(8))]
    assert [row["lr"] for row in rows] == pytest.approx([1e-2 * value for value in expected])
    assert all(row["grad_norm"] > 0 for row in rows)


def test_the_plan_is_told_first(train_micro, make_settings, capsys):
    train_micro(make_settings(repeats=2, validation={"every": 12, "fraction": 0.3, "draws": 1}, micro_batch=2))
    told = capsys.readouterr().out
    assert "4 x 2 repeats, 2 held out for validation (train.validation.every=0 trains on all)" in told
    assert re.search(r"batch +4 = 1 device x 2 micro-batches of 2", told)
    assert re.search(r"steps +12 = 6 epochs of 2 steps; each picture is seen 12 times", told)


def test_the_plan_tells_of_parts_timesteps_and_the_beginning(train_micro, make_settings, tmp_path, capsys):
    begun = train_micro(make_settings(steps=2), "one") / "adapters/step-00000002.safetensors"
    assert not re.search("timesteps  |begins with", capsys.readouterr().out)
    out = train_micro(
        make_settings(
            steps=2,
            optimizer={"part_lrs": {"up_blocks": 2e-3, "mid_block": 0.0}},
            objective={"min_timestep": 300},
            adapter={"init_from": str(begun)},
        )
    )
    told = capsys.readouterr().out
    assert re.search(r"rate +0.01 \(mid_block 0, up_blocks 0.002\), constant, 0 warm-up steps", told)
    assert re.search(r"timesteps +300 to 999, of 0 to 999", told)
    assert f"begins with {begun}" in told
    facts = read_json(out / "facts.json")
    assert facts["timesteps"] == [300, 1000, 1000]
    assert facts["init_from"] == {"file": "step-00000002.safetensors", "hash": hash_lora(begun)}


def test_pictures_that_are_not_finite_stop_the_run(train_micro, make_settings, micro_encoded, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(micro_encoded, broken)
    path = broken / "48x32.safetensors"
    tensors, _ = load_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors["latent_mean"][1, 0, 0, 0, 0] = float("nan")
    save_tensors(path, tensors)
    settings = make_settings(checkpoint_every=1, tracker={"log_every": 1})
    with pytest.raises(UserError, match="not finite at step") as raised:
        train_micro(settings, encoded=broken)
    assert "bucket 48x32" in str(raised.value)
    assert "the encoded 5.png is not finite" in str(raised.value)
    step = int(re.search(r"at step (\d+)", str(raised.value)).group(1))
    kept = sorted((tmp_path / "cache" / "checkpoints").glob("*/step-*.safetensors"))
    if step > 1:
        assert int(kept[-1].stem.removeprefix("step-")) == step - 1
        assert all(tensor.isfinite().all() for tensor in load_tensors(kept[-1])[0].values())
    assert not (tmp_path / "out").exists()


def test_a_rate_that_explodes_stops_at_the_next_reading(train_micro, make_settings, tmp_path, monkeypatch):
    settings = make_settings(optimizer={"lr": 1.0}, max_grad_norm=None, steps=60, checkpoint_every=2)
    # Beyond what the schema takes, and files could tell: a scale that float32 cannot hold for long.
    monkeypatch.setattr("lorakiln.train.stage.check_kohya_metadata", lambda run: None)
    settings = settings.model_copy(update={"adapter": settings.adapter.model_copy(update={"alpha": 1e30})})
    with pytest.raises(UserError, match=r"lower train\.optimizer\.lr, which is 1; or set train") as told:
        train_micro(settings)
    # Nobody is told to do what is done: it is fp32, and the norm has no limit.
    assert told.value.fix == "lower train.optimizer.lr, which is 1; or set train.max_grad_norm=1.0"
    for path in (tmp_path / "cache" / "checkpoints").glob("*/step-*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_tensors(path)[0].values())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_says_what_to_set(train_micro, make_settings, monkeypatch, error):
    def full(*arguments):
        raise error

    monkeypatch.setattr("lorakiln.train.lora_module.LoraModule.loss", full)
    with pytest.raises(UserError, match="cpu is out of memory, with 4 pictures at once, of 48x32 pixels") as raised:
        train_micro(make_settings())
    assert "train.micro_batch=2, or train.trainer.gradient_checkpointing=true" in raised.value.fix


def test_another_base_is_refused(train_micro, make_settings, micro_encoded, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(micro_encoded, other)
    index = json.loads((other / "index.json").read_text())
    index["base"]["hash"] = "0" * 64
    (other / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="run the stage `encode` again"):
        train_micro(make_settings(), encoded=other)


def test_no_encoded_folder(train_micro, make_settings, tmp_path):
    with pytest.raises(UserError, match="run the stage `encode` first"):
        train_micro(make_settings(), encoded=tmp_path / "nothing")


def test_more_steps_of_a_sample_than_the_model_has(train_micro, make_settings):
    with pytest.raises(UserError, match=r"train\.samples\.steps: 1001 steps are more"):
        train_micro(make_settings(samples={"every": 6, "steps": 1001}))


def test_no_timestep_left(train_micro, make_settings):
    with pytest.raises(UserError, match="no timestep is left"):
        train_micro(make_settings(objective={"min_timestep": 500, "max_timestep": 500}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_no_file_could_tell_is_refused_before_the_training(
    train_micro, make_settings, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(kohya_metadata, "PRECISIONS", {"bf16": "bf16"})
    with pytest.raises(UserError, match="'fp32'") as caught:
        train_micro(make_settings())
    assert caught.value.where == "train.trainer.precision"
    assert "training plan" not in capsys.readouterr().out and not (tmp_path / "cache").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(train_micro, make_settings):
    with pytest.raises(UserError, match="train/trainer=cpu"):
        train_micro(make_settings(trainer={"accelerator": "gpu"}))


def test_going_on_from_a_file(train_micro, make_settings, micro_family):
    first = train_micro(make_settings(), "first")
    file = str(first / "adapters" / "step-00000012.safetensors")
    frozen = make_settings(steps=1, optimizer={"lr": 1e-12, "weight_decay": 0}, adapter={"init_from": file})
    before, after = adapter_of(first), adapter_of(train_micro(frozen, "second"), 1)
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    with pytest.raises(UserError, match=r"its rank is 4, the settings' 2\n.*set train\.adapter\.rank=4.* --rank 2"):
        train_micro(make_settings(adapter={"init_from": file, "rank": 2}))
    with pytest.raises(UserError, match=r"train\.adapter\.targets"):
        train_micro(make_settings(adapter={"init_from": file, "targets": ["to_q"]}))


def test_going_on_with_more_than_the_file_has(train_micro, make_settings, make_module, tmp_path):
    """Ranks and alphas that differ from layer to layer, and modules that it leaves alone."""
    generator = torch.Generator().manual_seed(0)
    modules = {name: layer for name, layer in adapted(make_module().network).read().layers.items() if "to_q" in name}
    layers = {}
    for number, (name, layer) in enumerate(modules.items()):
        rank, sizes = 1 + number % 3, (layer.down.shape[1], layer.up.shape[0])
        down = torch.randn(rank, sizes[0], generator=generator)
        layers[name] = Layer(down, torch.randn(sizes[1], rank, generator=generator), 0.5 + number)
    write_lora(Adapter(layers), tmp_path / "given.safetensors", "diffusers")
    settings = make_settings(
        steps=1,
        optimizer={"lr": 1e-12, "weight_decay": 0},
        adapter={
            "init_from": str(tmp_path / "given.safetensors"),
            "rank": 5,
            "alpha": 2.0,
            "targets": ["to_q", "to_k"],
        },
    )
    kept = diffusers_form.load(train_micro(settings) / "adapters" / "step-00000001.safetensors").layers
    assert set(layers) < set(kept) and {layer.rank for layer in kept.values()} == {5}
    for name, layer in kept.items():
        expected = layers[name].delta() if name in layers else torch.zeros_like(layer.delta())
        torch.testing.assert_close(layer.delta(), expected, rtol=1e-4, atol=1e-6)
    texts = {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj": next(iter(layers.values()))}
    write_lora(Adapter(layers | texts), tmp_path / "both.safetensors", "diffusers")
    with pytest.raises(
        UserError, match=r"1 layer of text_encoder too.*\n.*lorakiln convert .*both\.safetensors.* --only unet"
    ):
        train_micro(make_settings(adapter={"init_from": str(tmp_path / "both.safetensors")}))


def test_targets_by_ending(train_micro, make_settings):
    out = train_micro(make_settings(steps=1, adapter={"targets": ["attn2.to_k", "conv_in"]}))
    targets = json.loads((out / "facts.json").read_text())["targets"]
    assert "conv_in" in targets
    assert len(targets) > 1
    assert all(name == "conv_in" or name.endswith("attn2.to_k") for name in targets)
    out = train_micro(make_settings(steps=1, adapter={"targets": ["up_blocks.*.attn2.to_k"]}))
    fewer = json.loads((out / "facts.json").read_text())["targets"]
    assert fewer == [name for name in targets if name.startswith("up_blocks.")] != []
    with pytest.raises(UserError, match="name matches 'side_blocks"):
        train_micro(make_settings(adapter={"targets": ["side_blocks.*"]}))
    with pytest.raises(UserError, match="did you mean to_q"):
        train_micro(make_settings(adapter={"targets": ["to_qq"]}))


def test_a_clock_that_is_set_back_changes_no_duration(train_micro, make_settings, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from lorakiln.train import stage

    class Ahead(datetime):
        @classmethod
        def now(cls, zone=UTC):
            return datetime.now(zone) + timedelta(days=365)

    monkeypatch.setattr(stage, "datetime", Ahead)
    where = json.loads((train_micro(make_settings(steps=1)) / "provenance.json").read_text())
    began, ended = (datetime.fromisoformat(where[name]) for name in ("began", "ended"))
    assert 0 < where["seconds"] < 300 and abs((ended - began).total_seconds() - where["seconds"]) <= 1

"""What `train` really wrote, exported: the two stages agree on the facts between them."""

import json

import torch

from lorakiln.artefacts.json_files import read_json, write_json, write_jsonl
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.export import export
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train import train
from lorakiln.train.results import LIBRARIES
from tests.made_facts import captioned_row


def test_a_run_is_exported(tmp_path, micro_encoded, micro_model, micro_family):
    settings = TrainSettings(
        steps=4,
        batch_size=4,
        checkpoint_every=0,
        checkpoint_minutes=0,
        adapter={"rank": 4, "alpha": 2.0},
        objective={},
        optimizer={"kind": "adamw", "lr": 1e-2},
        scheduler={"kind": "constant"},
        trainer={"accelerator": "cpu", "threads": 1},
        tracker={"kind": "none"},
        validation={"every": 2, "fraction": 0.34},
        samples={"every": 4, "steps": 1},
    )
    run = tmp_path / "run"
    train(micro_encoded, run, settings, micro_model, tmp_path / "checkpoints")
    index = read_json(micro_encoded / "index.json")
    rows = []
    for bucket in index["buckets"]:
        width, height = map(int, bucket["name"].split("x"))
        size = {"width": width, "height": height, "source_width": width, "source_height": height}
        rows += [captioned_row(row["file_name"], text=row["text"], **size) for row in bucket["rows"]]
    write_jsonl(tmp_path / "captioned" / "metadata.jsonl", rows)
    settings = ExportSettings(which="best", precision="fp32")
    export(run, tmp_path / "captioned", tmp_path / "choice", tmp_path / "lora", settings, micro_model)
    facts = read_json(tmp_path / "lora" / "facts.json")
    assert facts["step"] == 4
    assert facts["validation_loss"] is not None
    _, metadata = load_tensors(tmp_path / "lora" / facts["file"])
    # Six pictures, two of them held out.
    assert (metadata["ss_num_train_images"], metadata["ss_num_validation_images"]) == ("4", "2")
    assert json.loads(metadata["ss_bucket_info"])["mean_img_ar_error"] == 0
    # What the numbers depend on is in the file; what no number depends on, beside it: so equal runs give equal bytes.
    told = read_json(run / "provenance.json")
    assert json.loads(metadata["lorakiln_libraries"]) == told["libraries"]
    assert told["libraries"]["torch"] == torch.__version__ and set(told["libraries"]) == set(LIBRARIES)
    content = (tmp_path / "lora" / facts["file"]).read_bytes()
    assert told["git"]["commit"].encode() not in content and told["host"].encode() not in content
    write_json(run / "provenance.json", {**told, "git": {"commit": "f" * 40, "changed": True}, "host": "elsewhere"})
    export(run, tmp_path / "captioned", tmp_path / "choice", tmp_path / "lora", settings, micro_model)
    assert (tmp_path / "lora" / facts["file"]).read_bytes() == content
    trained = diffusers_form.load(run / "adapters" / "step-00000004.safetensors").layers
    found = kohya_form.load(tmp_path / "lora" / facts["file"], micro_family).layers
    assert set(found) == set(trained)
    assert all(torch.equal(layer.up, trained[name].up) for name, layer in found.items())
    assert any(layer.up.any() for layer in found.values())
    assert (tmp_path / "lora" / f"{facts['name']}.png").is_file()

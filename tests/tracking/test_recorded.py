"""What the record of a whole run holds, read back from the files that `wandb sync` sends."""

import json
import re
import shutil

import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.export import export
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.rows import VARIANT_SHEET, read_captioned
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking import resume_tracker, start_tracker
from lorakiln.tracking.contact_sheet import CELL, GAP, make_contact_sheet
from tests.made_facts import captioned_row
from tests.tracking.recorded import Recorded
from tests.tracking.test_tracker import offline  # noqa: F401 - a fixture

SETTINGS = {
    "steps": 4,
    "batch_size": 2,
    "validation": {"every": 2},
    "save_every": 4,
    "samples": {"every": 2, "prompts": ["a secret cat", "{trigger}"], "seeds": [5, 9], "steps": 2},
}


@pytest.fixture
def trained(offline, tmp_path, train_recorded):  # noqa: F811
    def make(upload_images=True):
        tracker = {"kind": "wandb", "group": "an experiment", "tags": ["mine"], "log_every": 2}
        return train_recorded(tracker={**tracker, "upload_images": upload_images}, **SETTINGS)

    return make


@pytest.fixture
def train_recorded(tmp_path, micro_model, micro_encoded):
    from lorakiln.schema.train import TrainSettings
    from lorakiln.train import train

    def make(**settings):
        whole = {
            "adapter": {"rank": 4, "alpha": 4.0},
            "objective": {},
            "optimizer": {"kind": "adamw", "lr": 1e-2},
            "scheduler": {"kind": "constant"},
            "trainer": {"accelerator": "cpu"},
            "checkpoint_every": 0,
            **settings,
        }
        encoded = tmp_path / "encoded"
        shutil.copytree(micro_encoded, encoded, dirs_exist_ok=True)
        Image.new("RGB", (64, 32), "blue").save(encoded / VARIANT_SHEET)
        train(encoded, tmp_path / "run", TrainSettings(**whole), micro_model, tmp_path / "cache" / "checkpoints")
        return tmp_path / "run"

    return make


@pytest.fixture
def captioned(tmp_path, micro_encoded):
    """Pictures for what was encoded."""
    from PIL import Image

    from lorakiln.artefacts.json_files import write_jsonl

    rows = [row for bucket in read_json(micro_encoded / "index.json")["buckets"] for row in bucket["rows"]]
    for row in rows:
        (tmp_path / "captioned").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(tmp_path / "captioned" / row["file_name"])
    whole = [captioned_row(**{**row, "caption_source": "file"}) for row in rows]
    write_jsonl(tmp_path / "captioned" / "metadata.jsonl", whole)
    return tmp_path / "captioned"


def test_one_run_holds_settings_curves_pictures_scores_and_files(trained, captioned, tmp_path, micro_model):
    run = trained()
    export(run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(name="cat"), micro_model)
    tracker = resume_tracker(run, "evaluate")
    tracker.log({"evaluate/clip_score/w1.00/mean": 0.5})
    tracker.finish()
    found, record = Recorded(tmp_path), read_json(run / "tracker.json")
    assert set(found.runs) == {record["id"], *(name for name in found.runs if name.startswith("dataset-"))}
    told = found.runs[record["id"]]
    assert told["group"] == "an experiment" and told["job_type"] == "train"
    assert set(told["tags"]) == {"mine", "sd", "lora", "rank 4", "micro"}
    facts = read_json(run / "facts.json")
    assert told["config"]["train"]["adapter"]["rank"] == 4
    assert told["config"]["dataset"]["hash"] == facts["dataset"]["hash"]
    assert told["config"]["base"]["hash"] == facts["base"]["hash"]
    assert told["config"]["git"] == read_json(run / "provenance.json")["git"]
    assert told["config"]["export"]["name"] == "cat"
    rows = found.history[record["id"]]
    keys = {key for row in rows for key in row}
    assert {
        "step",
        "loss",
        "loss_smoothed",
        "lr",
        "grad_norm",
        "pictures_per_second",
        "step_seconds",
        "memory_gib",
        "validation_loss",
        "samples/count",
        "samples_by_step/nrows",
        "variants/count",
        "lora_norm/mid_block",
        "lora_norm/up_blocks.1",
        "grad_norm/mid_block",
        "grad_norm/up_blocks.1",
    } <= keys
    assert any(key.startswith("loss_quarter/") for key in keys)
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    # The table grows, and begins with what the base draws.
    name = "samples_by_step"
    tables = [(row[f"{name}/nrows"], row[f"{name}/ncols"]) for row in rows if f"{name}/nrows" in row]
    assert tables == [(1, 5), (2, 5), (3, 5)]
    # Prompts x seeds, each a column.
    table = json.loads(
        max((tmp_path / "wandb").rglob("samples_by_step*.json"), key=lambda path: path.stat().st_size).read_text()
    )
    assert table["columns"] == [
        "step",
        "00 a secret cat, seed 5",
        "01 sks, seed 5",
        "02 a secret cat, seed 9",
        "03 sks, seed 9",
    ]
    assert [row[0] for row in table["data"]] == [0, 2, 4]
    assert found.summary[record["id"]]["evaluate/clip_score/w1.00/mean"] == 0.5
    kinds = {(kind, name): (aliases, metadata, names) for _, kind, name, aliases, metadata, names in found.artifacts}
    aliases, metadata, names = kinds["lora", "cat-lora"]
    # The only one that was saved is the best as well.
    assert set(aliases) == {"best", "latest"} and names == {"cat.safetensors"}
    assert metadata["hash"] == read_json(tmp_path / "lora" / "facts.json")["hash"]
    _, metadata, names = kinds["dataset", "micro-dataset"]
    assert metadata["hash"] == facts["dataset"]["hash"]
    # Referred to, not copied.
    files = {path.resolve().as_uri() for path in captioned.iterdir()}
    assert set(found.references["micro-dataset"]) == files and not list((tmp_path / "wandb").rglob("0.png"))
    assert told["config"]["dataset_version"] == f"micro-dataset:{metadata['version']}"
    (shown,) = found.history[f"dataset-{metadata['version']}"]
    assert shown["contact_sheet/_type"] == "image-file" and shown["pictures/nrows"] == 6


def test_of_all_exported_the_one_of_the_lowest_validation_loss_is_the_best(trained, captioned, tmp_path, micro_model):
    run = trained()
    facts = read_json(run / "facts.json")
    shutil.copyfile(run / facts["adapters"][0]["file"], run / "adapters" / "step-00000002.safetensors")
    earlier = {"step": 2, "file": "adapters/step-00000002.safetensors", "validation_loss": 0.001}
    write_json(run / "facts.json", {**facts, "adapters": [earlier, *facts["adapters"]]})
    export(run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(name="cat", which="all"), micro_model)
    found = [one for one in Recorded(tmp_path).artifacts if one[1] == "lora"]
    assert [(names, "best" in aliases, metadata["step"]) for _, _, _, aliases, metadata, names in found] == [
        ({"cat-step00000002.safetensors"}, True, 2),
        ({"cat.safetensors"}, False, 4),
    ]
    assert found[0][2] == found[1][2] == "cat-lora"


@pytest.mark.parametrize(("recommended", "best"), [(4, 4), (2, 2), (None, 2)])
def test_what_the_choice_recommends_is_the_best_whatever_its_loss(
    trained, captioned, tmp_path, micro_model, recommended, best
):
    run = trained()
    facts = read_json(run / "facts.json")
    shutil.copyfile(run / facts["adapters"][0]["file"], run / "adapters" / "step-00000002.safetensors")
    earlier = {"step": 2, "file": "adapters/step-00000002.safetensors", "validation_loss": 0.001}
    write_json(run / "facts.json", {**facts, "adapters": [earlier, *facts["adapters"]]})
    use = {"step": recommended, "weight": 0.8, "low": 0.8, "high": 1.0, "picture": ""} if recommended else None
    write_json(tmp_path / "choice/choice.json", {"recommended": use})
    export(run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(name="cat", which="all"), micro_model)
    found = [one for one in Recorded(tmp_path).artifacts if one[1] == "lora"]
    assert {metadata["step"]: "best" in aliases for _, _, _, aliases, metadata, _ in found} == {
        2: best == 2,
        4: best == 4,
    }


@pytest.mark.parametrize("private", [True, False])
def test_at_home_means_no_picture_no_caption_and_no_prompt(
    trained, captioned, tmp_path, micro_model, private, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["train", "caption.trigger=SECRETWORD"])
    run = trained(upload_images=False)
    export(
        run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(name="cat", private=private), micro_model
    )
    found = Recorded(tmp_path)
    assert any(name.startswith("dataset-") for name in found.runs) != private
    told = str([found.runs, found.artifacts, found.summary])
    assert not re.search(r"\bsks\b", told) and "'masks'" in told  # a setting, which holds the same letters
    assert found.runs[read_json(run / "tracker.json")["id"]]["config"]["git"]
    files = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    # The command line would be in it.
    assert not [path for path in files if path.name == "wandb-metadata.json"]
    assert files and not [path for path in files if path.suffix in (".png", ".jpg")]
    captions = [json.loads(line)["text"] for line in (captioned / "metadata.jsonl").read_text().splitlines()]
    captions += ["a secret cat", "SECRETWORD"]
    for path in files:
        content = path.read_bytes()
        assert not [text for text in captions if text.encode() in content], path


def test_a_dataset_is_recorded_once_and_anew_with_other_captions(offline, tmp_path, captioned):  # noqa: F811
    facts = DatasetFacts(name="micro", hash="h" * 16, pictures=6)

    def record(rows):
        tracker = start_tracker(TrackerSettings(kind="wandb", project="tests"), {}, tmp_path, None, "export")
        tracker.dataset(facts, captioned, rows)
        tracker.finish()
        return Recorded(tmp_path).runs[tracker.record["id"]]["config"]["dataset_version"]

    rows = read_captioned(captioned)
    first, again = record(rows), record(rows)
    assert first == again and len(list((tmp_path / "wandb").glob("offline-run-*-dataset-*"))) == 1
    other = record([rows[0].changed(text="something else"), *rows[1:]])
    (folder,) = (tmp_path / "wandb").glob(f"offline-run-*-dataset-{other.partition(':')[2]}")
    assert other != first
    # A record that was deleted is made again.
    shutil.rmtree(folder)
    record([rows[0].changed(text="something else"), *rows[1:]])
    assert list((tmp_path / "wandb").glob(f"offline-run-*-dataset-{other.partition(':')[2]}"))


def test_the_contact_sheet_shows_every_picture(tmp_path):
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (200, 100), (50 * number, 0, 100)).save(paths[-1])
    sheet = make_contact_sheet(paths)
    assert sheet.size == (3 * (CELL + GAP) + GAP, 2 * (CELL + GAP) + GAP)
    middles = [
        (GAP + CELL // 2 + number % 3 * (CELL + GAP), GAP + CELL // 2 + number // 3 * (CELL + GAP))
        for number in range(5)
    ]
    assert [sheet.getpixel(middle) for middle in middles] == [(50 * number, 0, 100) for number in range(5)]


def test_tensorboard_keeps_numbers_and_pictures(tmp_path, train_recorded, offline):  # noqa: F811
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train_recorded(tracker={"kind": "tensorboard", "group": "g", "log_every": 2}, **SETTINGS)
    tracker = resume_tracker(run, "evaluate", {"evaluate": {"steps": 2}})
    tracker.log({"evaluate/clip_score/w1.00/mean": 0.5})
    tracker.finish()
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == read_json(run / "tracker.json")["id"] and folder.name.startswith("g-")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert {"loss", "lr", "validation_loss", "evaluate/clip_score/w1.00/mean"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [2, 4]
    assert any(tag.startswith("samples/00 a secret cat") for tag in tags["images"])
    assert {"settings/train/text_summary", "settings/evaluate/text_summary"} <= set(tags["tensors"])


def test_a_tracker_that_raises_stops_nothing(trained, monkeypatch, capsys):
    from lorakiln.tracking import wandb_tracker

    def broken(*arguments, **named):
        raise RuntimeError("no more space in the cloud")

    monkeypatch.setattr(wandb_tracker.WandbTracker, "table", broken)
    run = trained()
    assert (run / "facts.json").is_file()
    assert capsys.readouterr().err.count("tracking stopped (no more space in the cloud)") == 1


def test_norms_are_those_of_the_weight_changes(micro_model):
    import torch

    from lorakiln.adapters import lora_network
    from lorakiln.adapters.networks import compute_adapter_norms
    from lorakiln.families import load_family
    from tests.adapters.networks import adapted

    network = load_family(micro_model, ("network",)).network
    names = [name for name, _ in network.named_modules() if name.endswith(("to_q", "conv1"))]
    lora_network.wrap(network, names, 4, 2.0, 0.0, seed=0)
    for number, layer in enumerate(lora_network.layers_on(network).values()):
        torch.nn.init.normal_(layer.lora_B["default"].weight, generator=torch.Generator().manual_seed(number))
    squares = {}
    for name, layer in adapted(network).read().layers.items():
        parts = name.removeprefix("unet.").split(".")
        block = parts[0] if parts[0] == "mid_block" else ".".join(parts[:2])
        squares[block] = squares.get(block, 0.0) + layer.delta().norm().item() ** 2
    assert compute_adapter_norms(adapted(network)) == pytest.approx(
        {f"lora_norm/{k}": v**0.5 for k, v in squares.items()}, rel=1e-4
    )


def test_quarters_of_the_noise():
    import torch

    from lorakiln.train.step_metrics import QuarterLosses, compute_smoothed

    quarters = QuarterLosses(torch.device("cpu"))
    quarters.push(torch.tensor([0, 0.249, 0.25, 0.999]), torch.tensor([1.0, 3.0, 5.0, 7.0]))
    quarters.push(torch.tensor([0.75, 1.0]), torch.tensor([9.0, 11.0]))
    assert quarters.read() == {"loss_quarter/1": 2.0, "loss_quarter/2": 5.0, "loss_quarter/4": 9.0}
    assert quarters.read() == {}
    assert compute_smoothed([2.0]) == pytest.approx(2.0) and compute_smoothed([1.0] * 50) == pytest.approx(1.0)
    assert compute_smoothed([0.0, 1.0]) == pytest.approx(0.1 / 0.19)

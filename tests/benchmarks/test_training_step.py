"""The benchmark of steps: its arithmetic, what it gives to other programs, and all of it once, with three steps."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from benchmarks import sd_scripts_small
from benchmarks.peers import (
    copy_for_old_transformers,
    count_weights,
    find_python,
    read_header,
    use_diffusers,
    use_sd_scripts,
)
from benchmarks.rounds import Cost, divide_work, tell_ratios
from benchmarks.training_step import BARE, MODEL, OURS, make_rows

WEIGHTS = 286_720  # rank 16 on the 56 linear layers of the tiny base's attention


def test_it_runs_and_both_train_the_same(run_benchmark):
    result, shown = run_benchmark("training_step", "--steps", "1", "3")
    assert [row[0] for row in result["rows"]] == [OURS, BARE]
    assert result["facts"]["weights"] == {OURS: WEIGHTS, BARE: WEIGHTS}
    steps = {(record["program"], record["steps"]) for record in result["records"]}
    assert steps == {(name, count) for name in (OURS, BARE) for count in (1, 3)}
    assert "286,720" in shown


def runs(start: float, step: float, steps: int, peak: float) -> Cost:
    """Twice the wall of the CPU time."""
    return Cost(2 * (start + steps * step), start + steps * step, peak, 0.0)


def test_start_and_steps_are_told_apart():
    programs = {OURS: (5.0, 0.05, 300.0), BARE: (4.0, 0.10, 200.0)}
    short, long = (
        {name: {n: runs(start, step, steps, peak) for n in range(3)} for name, (start, step, peak) in programs.items()}
        for steps in (10, 110)
    )
    ours, bare = make_rows(short, long, (10, 110), {OURS: 7, BARE: 7000})
    same = lambda text: f"{text} ({text} to {text})"  # noqa: E731
    assert ours == [OURS, *map(same, ("50.0", "2.00", "10.0", "2.00", "5.0", "10.0", "300")), "7"]
    assert bare == [BARE, *map(same, ("100.0", "1.00", "5.0", "1.00", "4.0", "8.0", "200")), "7,000"]
    cpu = divide_work(short, long, (10, 110), "cpu")
    assert tell_ratios(cpu, OURS) == {BARE: "2.00 (2.00 to 2.00)"}


def test_steps_that_are_lost_in_the_noise_make_no_ratio():
    short = {name: {0: Cost(2.0, 2.0, 1.0, 0.0)} for name in (OURS, BARE)}
    long = {OURS: {0: Cost(1.0, 1.0, 1.0, 0.0)}, BARE: {0: Cost(3.0, 3.0, 1.0, 0.0)}}
    ours, _ = make_rows(short, long, (1, 2), {OURS: 1, BARE: 1})
    assert ours[2:5] == ["-", "-", "-"]
    assert tell_ratios(divide_work(short, long, (1, 2), "cpu"), OURS) == {BARE: "-"}


def test_weights_are_counted_without_alphas(tmp_path):
    file = tmp_path / "lora.safetensors"
    tensors = {"a.lora_down.weight": torch.zeros(4, 6), "a.lora_up.weight": torch.zeros(5, 4), "a.alpha": torch.ones(1)}
    save_file(tensors, file, {"format": "pt"})
    assert count_weights(file) == 4 * 6 + 5 * 4


def test_an_older_transformers_finds_the_text_encoders_level_and_the_same_numbers(tmp_path):
    folder = copy_for_old_transformers(MODEL, tmp_path / "model")
    file = folder / "text_encoder" / "model.safetensors"
    names = [name for name in read_header(file) if name != "__metadata__"]
    assert names and all(name.startswith("text_model.") for name in names)
    before = load_file(MODEL / "text_encoder" / "model.safetensors")
    for name, tensor in load_file(file).items():
        assert torch.equal(tensor, before[name.removeprefix("text_model.")])
    assert CLIPTextModel.from_pretrained(folder / "text_encoder").config.hidden_size == 128


@pytest.fixture
def captioned(tmp_path):
    folder = tmp_path / "captioned"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "b.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "a drum, outline style"}\n')
    return folder


def read_words(command: list[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in command if word.startswith("--") and "=" in word)


def test_other_programs_get_the_same_pictures_captions_batch_steps_and_seed(tmp_path, captioned):
    code = tmp_path / "code"
    (code / "examples" / "text_to_image").mkdir(parents=True)
    (code / "examples" / "text_to_image" / "train_text_to_image_lora.py").touch()
    python = Path(sys.executable)
    kohyas = use_sd_scripts(code, python, MODEL, captioned, tmp_path / "kohya", 4)(30, 7)
    words = read_words(kohyas.command)
    (dataset,) = json.loads(Path(words["dataset_config"]).read_text())["datasets"]
    (subset,) = dataset["subsets"]
    assert (words["max_train_steps"], words["seed"], dataset["batch_size"]) == ("30", "7", 4)
    # One epoch is longer than the run, so that it never stops to begin another.
    assert subset["num_repeats"] * 1 > 30 * 4
    (text,) = Path(subset["image_dir"]).glob("*.txt")
    assert text.read_text() == "a drum, outline style"
    assert text.with_suffix(".png").read_bytes() == (captioned / "b.png").read_bytes()
    theirs = use_diffusers(code, python, MODEL, captioned, tmp_path / "hf", 4)(30, 7)
    words = read_words(theirs.command)
    assert (words["max_train_steps"], words["seed"], words["train_batch_size"], words["rank"]) == ("30", "7", "4", "16")
    (line,) = Path(words["train_data_dir"], "metadata.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["text"] == "a drum, outline style"
    assert Path(words["train_data_dir"], row["file_name"]).read_bytes() == (captioned / "b.png").read_bytes()


def test_a_checkout_without_what_is_run_is_refused_with_a_way_out(tmp_path, captioned):
    with pytest.raises(SystemExit, match="(?s)no such Python.*fix: "):
        find_python(tmp_path, None)
    with pytest.raises(SystemExit, match="(?s)train_text_to_image_lora.py: not there.*fix: "):
        use_diffusers(tmp_path, None, MODEL, captioned, tmp_path / "hf", 4)


def test_a_checkouts_own_environment_is_found(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    assert find_python(tmp_path, None) == tmp_path / ".venv" / "bin" / "python"


def test_another_sd_scripts_than_was_tried_is_refused_by_the_name_that_it_lacks():
    config = json.loads((MODEL / "unet" / "config.json").read_text())
    with pytest.raises(SystemExit, match="original_unet.BLOCK_OUT_CHANNELS"):
        sd_scripts_small.set_architecture(SimpleNamespace(), config)

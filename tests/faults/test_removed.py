"""Files and folders that somebody removes while a stage runs: one line, or no harm; never half an output."""

import shutil

import pytest

from tests.faults.conftest import STAGES

AGAIN = "run the same command again"


@pytest.mark.parametrize(
    ("stage", "place", "gone", "said"),
    [
        ("prepare", "lorakiln.prepare.stage:map_in_order", "raw/mine/3.png", "removed while this ran (1); " + AGAIN),
        ("prepare", "lorakiln.prepare.stage:map_in_order", "raw/mine", "removed while this ran (12); " + AGAIN),
        ("prepare", "lorakiln.prepare.stage:write_rows", "outputs/.prepared.new", "removed while this ran"),
        ("prepare", "lorakiln.facts.file:write_json", "outputs", "removed while this ran"),
        ("caption", "lorakiln.caption.stage:write_rows", "outputs/.captioned.new", "removed while this ran"),
        ("encode", "lorakiln.encode.stage:mapped_tensors", "outputs/captioned", "outputs/captioned/0.png: not a read"),
        ("encode", "lorakiln.encode.stage:load_family", "outputs/captioned", "no captioned pictures here"),
        ("train", "lorakiln.train.lora_module:LoraModule.loss", "outputs/encoded", ""),
        ("train", "lorakiln.train.lora_module:LoraModule.loss", "cache", ""),
        ("train", "lorakiln.train.stage:write_run", "cache", ".safetensors: cannot be read or written: No such file"),
        ("train", "lorakiln.train.results:write_csv", "outputs/.run.new", "removed while this ran"),
        ("export", "lorakiln.export.stage:load_family", "outputs/run", "cannot be read or written: No such file"),
        ("export", "lorakiln.export.stage:hash_file", "outputs/.lora.new", "cannot be read or written: No such file"),
        ("evaluate", "lorakiln.evaluate.painter:load_family", "outputs/lora", "mine.safetensors: no such file"),
        ("evaluate", "lorakiln.evaluate.painter:draw", "outputs/lora", ""),
    ],
)
def test_what_is_removed_while_a_stage_runs(programs, stages_before, stage, place, gone, said):
    stages = stages_before(stage)

    def remove(process):
        path = stages / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    status, printed = programs.start(f"pipelines.{stage}", stages, pause=place).go_on_when_paused(remove)
    assert status == int(bool(said)), printed
    assert said in printed and "Traceback" not in printed
    out = stages / "outputs" / STAGES[stage]
    assert out.exists() == (not said)

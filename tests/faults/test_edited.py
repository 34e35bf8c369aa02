"""What somebody edits in a dataset while a stage reads it: the stage says so, and the next run has it."""

import json

import pytest

from lorakiln import runs
from lorakiln.chain import Stage
from lorakiln.console.errors import UserError
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config


@pytest.mark.parametrize(("stage", "file"), [("prepare", "raw/mine/new.txt"), ("caption", "raw/mine/3.txt")])
def test_a_stage_whose_input_was_edited_fails_and_the_next_run_reads_it(programs, stages_before, stage, file):
    """DVC takes what a command read for what is there when it has succeeded; with another status it notes nothing."""
    stages = stages_before(stage)
    started = programs.start(f"pipelines.{stage}", stages, pause=f"lorakiln.{stage}.stage:write_rows")
    status, printed = started.go_on_when_paused(lambda process: (stages / file).write_text("edited by hand"))
    assert status == 1 and "Traceback" not in printed
    assert f"1 file changed while this ran, which may have read them before: {file[9:]}" in printed
    status, printed = programs.start(f"pipelines.{stage}", stages).wait()
    assert status == 0, printed
    if stage == "caption":
        rows = map(json.loads, (stages / "outputs/captioned/metadata.jsonl").read_text().splitlines())
        assert {row["source"]: row["text"] for row in rows}["3.png"] == "sks, edited by hand"


def test_the_second_door_keeps_nothing_under_the_key_of_what_was_there_before(tmp_path, monkeypatch):
    raw = tmp_path / "raw/mine"
    raw.mkdir(parents=True)
    (raw / "a.txt").write_text("a")
    ran = []

    def run(stage, folders, settings):
        ran.append(stage.name)
        if ran == ["prepare", "caption"]:
            (folders["raw"] / "a.txt").write_text("edited by hand")

    monkeypatch.setattr(Stage, "run", run)
    paths = [f"paths.raw={tmp_path}/raw", f"paths.cache={tmp_path}/cache"]
    config = check_whole(compose_config(["+experiment=smoke", "prepare.dataset=mine", *paths]))
    with pytest.raises(UserError, match="changed while this ran, which may have read them before: a.txt"):
        runs.make_dataset(config)
    assert ran == ["prepare", "caption"]
    # What was edited is another dataset, and made.
    runs.make_dataset(config)
    assert ran[2:] == ["prepare", "caption", "encode"]

"""`dvc repro` after a change of the program."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BUCKETS = "src/lorakiln/prepare/buckets.py"
STAGES = {"prepare", "caption", "encode", "train", "choose", "export", "evaluate"}


def test_a_comment_runs_nothing_and_another_rule_does(own_project):
    def prepared(*more):
        told = own_project.run("dvc", "repro", "prepare", *more)
        facts = json.loads((own_project.folder / "outputs/prepared/dataset.json").read_text())
        return told, facts["buckets"]

    told, before = prepared()
    assert "24 pictures (0 reused)" in told
    own_project.edit(BUCKETS, "    if size in buckets:", "    # As it was.\n    if size in buckets:")
    told, after = prepared()
    assert "Running stage 'compose'" in told and "Running stage 'prepare'" not in told and after == before
    own_project.edit(BUCKETS, "return min(buckets", "return max(buckets")
    told, after = prepared()
    assert "24 pictures (0 reused)" in told and after != before
    own_project.edit("src/lorakiln/artefacts/json_files.py", '"""', '"""Otherwise said. ')
    told, again = prepared()
    assert "Running stage 'prepare'" not in told
    told, again = prepared("-s", "-f")
    assert "prepare: nothing has changed" in told and again == after


def test_compose_tells_which_stages_code_is_another(own_project):
    folder = own_project.folder

    def digests():
        own_project.run("python", "-m", "pipelines.compose")
        return {path.name: path.read_text() for path in (folder / "outputs/.code").iterdir()}

    now = digests()
    assert now.keys() == STAGES
    for file, old, new, expected in [
        # A comment; a kind that is not in use (whose names export knows all); the looks of the console.
        ("src/lorakiln/train/lora_module.py", "\nimport ", "\n# Said.\nimport ", set()),
        ("src/lorakiln/optim/schedules/cosine.py", "0.5", "0.25", {"export"}),
        ("src/lorakiln/console/progress.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ", set()),
        # The kind in use, a stage's own, what all have; how a stage is started.
        ("src/lorakiln/evaluate/verdict.py", "\ndef ", "\nX = 1\n\n\ndef ", {"evaluate"}),
        ("src/lorakiln/artefacts/hashing.py", "ensure_ascii=False", "ensure_ascii=True", STAGES),
        ("pipelines/train.py", "def main", "X = 1\n\n\ndef main", {"train"}),
        # What a setting says of itself decides what an export leaves out.
        ("src/lorakiln/schema/evaluate.py", "\nclass ", "\nX = 1\n\n\nclass ", {"choose", "export", "evaluate"}),
    ]:
        before = now
        own_project.edit(file, old, new)
        now = digests()
        assert {stage for stage in STAGES if now[stage] != before[stage]} == expected, file

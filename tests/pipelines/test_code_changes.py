"""`dvc repro` after a change of the program."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BUCKETS = "src/lorakiln/prepare/buckets.py"


def test_a_comment_reuses_and_another_rule_does_not(own_project):
    def prepared():
        told = own_project.run("dvc", "repro", "prepare")
        facts = json.loads((own_project.folder / "outputs/prepared/dataset.json").read_text())
        return told, facts["buckets"]

    told, before = prepared()
    assert "24 pictures (0 reused)" in told
    own_project.edit(BUCKETS, "    if size in buckets:", "    # As it was.\n    if size in buckets:")
    told, after = prepared()
    assert "24 pictures (24 reused)" in told and after == before
    own_project.edit(BUCKETS, "return min(buckets", "return max(buckets")
    told, after = prepared()
    assert "24 pictures (0 reused)" in told and after != before
    own_project.edit("src/lorakiln/artefacts/json_files.py", '"""', '"""Otherwise said. ')
    told, again = prepared()
    assert "24 pictures (24 reused)" in told and again == after

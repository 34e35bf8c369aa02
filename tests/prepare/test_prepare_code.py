"""After a change of the program: what behaves otherwise makes all anew, and nothing else makes anything."""

import os
import shutil
import subprocess
import sys

import pytest

from lorakiln.artefacts.code_digest import ROOT
from lorakiln.artefacts.json_files import read_json, read_jsonl

PROGRAM = """
from pathlib import Path
from lorakiln.prepare import prepare
from lorakiln.schema.prepare import PrepareSettings
bucket = {"min": 32, "max": 128, "step": 16}
prepare(Path("raw"), Path("out"), PrepareSettings(dataset="raw", resolution=64, bucket=bucket, workers=1))
"""


@pytest.fixture
def program(tmp_path, noise):
    """Runs the stage with a copy of the package, after an edit of it; what it said, and the buckets that there are."""
    shutil.copytree(ROOT, tmp_path / "src/lorakiln", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "raw").mkdir()
    for number, size in enumerate([(160, 96), (64, 64), (100, 160)]):
        noise(*size, number).save(tmp_path / f"raw/{number}.png")

    def run(file="prepare/buckets.py", old="", new=""):
        path = tmp_path / "src/lorakiln" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        # What was compiled counts as current while a file's second and size are the same.
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        told = subprocess.check_output([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, text=True)
        rows = read_jsonl(tmp_path / "out/metadata.jsonl")
        assert len({row["key"] for row in rows}) == 3
        return told, read_json(tmp_path / "out/dataset.json")["buckets"]

    return run


def test_another_bucket_rule_makes_all_anew(program):
    told, before = program()
    assert "3 pictures (0 reused)" in told and before == {"48x80": 1, "64x64": 1, "80x48": 1}
    told, after = program(old="return min(buckets", new="return max(buckets")
    assert "3 pictures (0 reused)" in told and after == {"128x32": 2, "64x64": 1}
    told, back = program(old="return max(buckets", new="return min(buckets")
    assert "3 pictures (0 reused)" in told and back == before


def test_what_changes_nothing_reuses_everything(program):
    _, before = program()
    for file, old, new in (
        ("prepare/buckets.py", "    if size in buckets:", "    # Nothing new.\n    if size in buckets:  # as it was"),
        ("prepare/buckets.py", '    """A bucket of the very', '    """The bucket of the very'),
        ("prepare/stage.py", "reused)", "reused )"),
        ("console/progress.py", "\n@contextmanager", "\ndef unused():\n    pass\n\n\n@contextmanager"),
        ("encode/latents.py", "\ndef ", "\ndef unused():\n    pass\n\n\ndef "),
        ("schema/prepare.py", "the folder below data/raw", "its folder"),
    ):
        told, after = program(file, old, new)
        assert "3 pictures (3 reused" in told and after == before, file


def test_a_room_that_all_share_is_no_exception(program):
    program()
    told, _ = program("artefacts/hashing.py", "\ndef ", "\ndef unused():\n    pass\n\n\ndef ")
    assert "(0 reused)" in told

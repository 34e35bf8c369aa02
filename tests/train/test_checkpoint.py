"""The folder of a run's checkpoints."""

from lorakiln.train.checkpoint import CheckpointFolder


def test_what_a_killed_process_was_writing_does_not_pile_up(tmp_path):
    (tmp_path / "work/adapters").mkdir(parents=True)
    left = [tmp_path / "step-00000002.safetensors.1a2b3c4d.part", tmp_path / "work/adapters/step-2.x.part"]
    kept = tmp_path / "step-00000001.safetensors"
    for path in (*left, kept):
        path.write_text("x")
    folder = CheckpointFolder(tmp_path)
    folder.open({})
    assert not any(path.exists() for path in left) and kept.exists()
    folder.close()

import glob
import json
import os
import shutil
import subprocess

import pytest

from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking import resume_tracker
from lorakiln.tracking.tracker import SafeTracker, Tracker, start_tracker
from tests.tracking.recorded import Recorded


class Failing(Tracker):
    def log(self, values, step=None):
        raise ConnectionError("no route\nto host")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No key anywhere, and a home without one."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


def test_a_failing_tracker_is_told_once_and_does_not_stop_anything(capsys):
    tracker = SafeTracker(Failing())
    tracker.log({"loss": 1.0}, 1)
    tracker.log({"loss": 1.0}, 2)
    tracker.finish()
    assert capsys.readouterr().err == "warning: tracking stopped (no route); the work goes on without it\n"


def test_csv_and_none_keep_nothing(tmp_path):
    for kind in ("csv", "none"):
        tracker = start_tracker(TrackerSettings(kind=kind), {}, tmp_path, None, "train")
        tracker.log({"loss": 1.0}, 1)
        assert tracker.record == {"kind": kind, "id": None, "project": None, "url": None}
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_it_is_offline_and_one_line_says_how_to_sync(offline, capfd, tmp_path):
    settings = TrackerSettings(kind="wandb", project="tests", tags=["a"], group="g")
    tracker = start_tracker(settings, {"train": {"steps": 3}}, tmp_path, None, "train")
    tracker.log({"loss": 0.5}, 1)
    tracker.finish()
    told = capfd.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if line.strip()]
    assert len(lines) == 1
    folder = lines[0].partition("wandb sync ")[2]
    assert folder.startswith(str(tmp_path / "wandb" / "offline-run-"))
    assert glob.glob(folder)
    assert tracker.record["id"] in folder
    assert tracker.record["url"] is None


def test_the_printed_command_can_be_pasted(offline, capfd, tmp_path):
    folder = tmp_path / "my runs, a=b"
    tracker = start_tracker(TrackerSettings(kind="wandb", project="tests"), {}, folder, None, "train")
    tracker.finish()
    command = capfd.readouterr().err.partition("to upload later: ")[2].strip()
    listed = ["bash", "-c", f'set -- {command}; shift 2; printf "%s\\n" "$@"']
    shown = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [str(path) for path in (folder / "wandb").glob("offline-run-*")] and len(shown) == 1


def test_later_stages_log_into_the_same_run(offline, tmp_path):
    settings = TrackerSettings(kind="wandb", project="tests", group="g", name="n", tags=["t"])
    first = start_tracker(settings, {}, tmp_path, None, "train")
    first.finish()
    run = tmp_path / "run"
    run.mkdir()
    (run / "tracker.json").write_text(json.dumps(first.record))
    second = resume_tracker(run, "evaluate")
    second.log({"score": 0.5})
    second.finish()
    assert second.record["id"] == first.record["id"]
    folders = list((tmp_path / "wandb").glob(f"offline-run-*{first.record['id']}*"))
    assert len(folders) == 2
    # What is told with the last of them is told with all.
    shutil.rmtree(min(folders))
    (told,) = Recorded(tmp_path).runs.values()
    assert (told["group"], told["name"], told["tags"]) == ("g", "n", ["t"])


def test_pictures_stay_at_home_if_wished(offline, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for upload in (True, False):
        settings = TrackerSettings(kind="wandb", project="tests", upload_images=upload)
        tracker = start_tracker(settings, {}, tmp_path / str(upload), None, "train")
        tracker.images("samples", {"a secret caption": tmp_path / "a.png"}, 1)
        tracker.finish()
        files = [path for path in (tmp_path / str(upload)).rglob("*") if path.is_file()]
        assert any(path.suffix == ".png" for path in files) == upload
        # (Where it may leave, wandb writes the caption in pieces; where it may not, there is none.)
        assert upload or not any(b"secret" in path.read_bytes() for path in files)


def test_a_run_without_a_tracker(tmp_path):
    assert resume_tracker(tmp_path, "evaluate").record["kind"] == "none"


def test_a_client_that_cannot_start_is_no_reason_to_stop(offline, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "lorakiln.tracking.wandb_tracker", None)
    tracker = start_tracker(TrackerSettings(kind="wandb"), {}, tmp_path, None, "train")
    tracker.log({"loss": 1.0}, 1)
    assert tracker.record["kind"] == "none"
    assert "tracking stopped" in capsys.readouterr().err


@pytest.fixture
def unreachable(offline, monkeypatch):
    """A key, and a server at which nobody listens."""
    from lorakiln.tracking import wandb_tracker

    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_tracker, "PATIENCE", 2)
    wandb_tracker.wandb.teardown()
    yield offline
    wandb_tracker.wandb.teardown()


def tried_online(folder):
    """wandb makes such a folder for what is to go to the server."""
    return list((folder / "wandb").glob("run-*"))


def test_a_server_that_does_not_answer_loses_nothing_and_is_asked_once(unreachable, capfd):
    settings, folder = TrackerSettings(kind="wandb", project="tests"), unreachable
    first = start_tracker(settings, {}, folder, None, "train")
    first.log({"loss": 0.5}, 1)
    first.finish()
    run = folder / "run"
    run.mkdir()
    (run / "tracker.json").write_text(json.dumps(first.record))
    for job in ("export", "evaluate"):
        later = resume_tracker(run, job)
        later.log({f"{job}/done": 1.0})
        later.finish()
    another = start_tracker(settings, {}, folder, None, "train")  # the sweep's next job
    another.finish()
    assert len(tried_online(folder)) == 1
    found = Recorded(folder)
    assert {"export/done", "evaluate/done"} <= set(found.summary[first.record["id"]])
    assert another.record["id"] in found.runs
    told = capfd.readouterr().err
    assert "tracking stopped" not in told and told.count("did not answer") == 1 and told.count("wandb sync") == 2


def test_a_run_that_was_online_goes_on_offline_when_the_server_is_gone(unreachable, capfd):
    known = {"id": "abcd1234", "url": "https://example.org/runs/abcd1234"}
    tracker = start_tracker(TrackerSettings(kind="wandb", project="tests"), {}, unreachable, known, "train")
    tracker.log({"loss": 0.5}, 7)
    tracker.finish()
    assert tracker.record["id"] == "abcd1234" and tracker.record["url"] is None
    assert [row["step"] for row in Recorded(unreachable).history["abcd1234"]] == [7]
    assert "tracking stopped" not in capfd.readouterr().err


def test_silence_ends_with_time_an_answer_or_another_server(tmp_path, monkeypatch):
    from lorakiln.tracking import server_silence

    one = server_silence.ServerSilence(tmp_path, "http://one")
    assert not one.lasts()
    one.begin()
    assert one.lasts() and not server_silence.ServerSilence(tmp_path, "http://two").lasts()
    monkeypatch.setattr(server_silence, "LASTS", 0)
    assert not one.lasts()
    monkeypatch.undo()
    one.end()
    assert not one.lasts()

"""Weights & Biases: with `wandb_registry` the only module that imports wandb. It never asks for an account."""

import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_SILENT", "true")

import wandb
from wandb.errors import CommError, UsageError
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined] # protobuf makes it while it is imported

from lorakiln.facts.dataset import DatasetFacts
from lorakiln.rows import CaptionedRow
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking.contact_sheet import make_contact_sheet
from lorakiln.tracking.dataset_versions import DatasetVersion, compute_dataset_version
from lorakiln.tracking.private_settings import remove_words
from lorakiln.tracking.protocol import Tracker
from lorakiln.tracking.server_silence import LASTS, ServerSilence
from lorakiln.tracking.temporary_files import temporary_files_in
from lorakiln.tracking.wandb_run_folders import read_run_folders, set_aside, wait_for_a_name

MOST_LETTERS = 128  # that W&B takes for a name
MOST_ROWS = 200  # of a dataset, shown in its table
PATIENCE = 30  # seconds that an online start may take before the run goes offline
# A row's number (`_step`, by which W&B counts) follows from the training step and from what the row holds. So it is
# known of each whether the record has it already.
ROOM = 8  # numbers of one training step
ROW, VALIDATION, PICTURES, TABLE = range(4)
_opened: dict[Path, int] = {}  # this process's own run folders, and the number of the last row in each


class WandbTracker(Tracker):
    """One W&B run. Without a key or without the network it records offline, and says how to sync later.

    WANDB_MODE, WANDB_DIR, WANDB_API_KEY and WANDB_BASE_URL are obeyed as everywhere, but that a run which began offline
    goes on so.
    """

    keeps = True

    def __init__(
        self,
        settings: TrackerSettings,
        config: Mapping[str, Any],
        folder: Path,
        known: Mapping[str, Any] | None,
        job: str,
    ) -> None:
        self.upload_images = settings.upload_images
        self._home = Path(os.environ.get("WANDB_DIR") or folder)
        known_id = known.get("id") if known else None
        last, mended = repair_run_folders(self._home / "wandb", known_id) if known_id else (-1, False)
        arguments = {
            "project": settings.project,
            "entity": settings.entity,
            "group": settings.group,
            "tags": settings.tags,
            "name": settings.name and settings.name[:MOST_LETTERS],
            "config": self._shared(config),
            "dir": str(self._home),
            "job_type": job,
            "id": known_id,
            "resume": "allow" if known_id else None,
        }
        # What began offline goes on so: the whole run is uploaded by one command, and no later stage waits again.
        offline = bool(known and known_id and not known.get("url"))
        self._run = start(arguments, at_home=not settings.upload_images, offline=offline)
        # Everything is drawn over the optimizer's steps, whatever order a resumed run sends them in.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        offline = self._run.settings.mode != "online"
        # The number of the last row, and of the last that was there before.
        self._last = self._held = last if offline else self._run.starting_step - 1
        self._trains = job == "train"
        self.record = {
            "kind": "wandb",
            "id": self._run.id,
            "project": settings.project,
            "entity": settings.entity,
            "url": None if offline else self._run.url,
            "folder": str(folder),
            "upload_images": settings.upload_images,
            "group": settings.group,
            "name": settings.name,
            "tags": settings.tags,
        }
        if (job == "train" or mended) and self._run.settings.mode == "offline":
            # Export and evaluate record into folders of their own, which the same command sends; what said so first
            # was killed where a run folder is mended.
            sent = shlex.quote(str(Path(self._run.settings.sync_dir).parent))
            print(f"W&B is offline; to upload later: wandb sync {sent}/offline-run-*-{self._run.id}", file=sys.stderr)

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            self._run.summary.update(dict(values))
        else:
            self._send(step, VALIDATION if "validation_loss" in values else ROW, values)

    def _send(self, step: int, place: int, values: Mapping[str, Any]) -> None:
        number = ROOM * step + place
        if not self._trains:
            number = self._last + 1  # whatever step it is about, it comes after the training
        elif number <= self._held:
            return
        # After the last step a row may come behind the pictures.
        self._last = max(number, self._last + 1)
        with temporary_files_in(self._home / "wandb"):
            self._run.log({"step": step, **values}, step=self._last, commit=True)
        _opened[Path(self._run.settings.sync_dir).resolve()] = self._last

    def images(self, name: str, pictures: Mapping[str, Path], step: int) -> None:
        if self.upload_images and pictures:
            shown = [wandb.Image(str(path), caption=caption) for caption, path in pictures.items()]
            self._send(step, PICTURES, {name: shown})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int) -> None:
        if self.upload_images:
            self._send(step, TABLE, {name: _table(columns, rows)})

    def artifact(
        self, kind: str, name: str, files: Mapping[str, Path], facts: Mapping[str, Any], aliases: Sequence[str] = ()
    ) -> None:
        made = _artifact(kind, name, self._shared(facts))
        for inside, path in files.items():
            # Our outputs are replaced whole, never changed: no copy is needed.
            made.add_file(str(path), name=inside, policy="immutable", skip_cache=True)
        self._run.log_artifact(made, aliases=["latest", *aliases])

    def dataset(self, facts: DatasetFacts, pictures: Path, rows: Sequence[CaptionedRow]) -> None:
        mode, name = self._run.settings.mode, make_artifact_name(f"{facts.name}-dataset")
        if mode == "disabled":
            return
        version = compute_dataset_version(facts.hash, [(row.file_name, row.text) for row in rows])
        # The lineage, for those who read the record offline.
        self._run.config.update({"dataset_version": f"{name}:{version}"}, allow_val_change=True)
        mark = DatasetVersion(self._home, self.record["entity"], self.record["project"], version, self.upload_images)
        with mark.held():
            if not mark.recorded(mode == "online"):
                try:
                    mark.set(*self._record_dataset(facts, pictures, rows, name, version))
                except (CommError, UsageError) as error:
                    # The LoRA's own record goes on without it.
                    print(f"warning: the dataset was not recorded ({error})", file=sys.stderr, flush=True)
                    return
        if mode == "online":
            try:
                self._run.use_artifact(f"{name}:{version}")
            except (CommError, UsageError, ValueError) as error:
                print(f"warning: the dataset's version is not linked ({error})", file=sys.stderr, flush=True)

    def _record_dataset(
        self, facts: DatasetFacts, pictures: Path, rows: Sequence[CaptionedRow], name: str, version: str
    ) -> tuple[bool, str]:
        """Whether it went to the server, and the folder of its record."""
        repair_run_folders(self._home / "wandb", f"dataset-{version}")
        metadata = {**self._shared(facts.to_dict()), "version": version}
        made = _artifact("dataset", name, metadata)
        made.add_reference(pictures.resolve().as_uri(), checksum=False)
        run = start(
            {
                "project": self.record["project"],
                "entity": self.record["entity"],
                "group": "datasets",
                "job_type": "dataset",
                "id": f"dataset-{version}",
                "name": f"{facts.name} {version[:8]}",
                "resume": "allow",
                "config": metadata,
                "dir": str(self._home),
                "reinit": "create_new",
            },
            at_home=not self.upload_images,
            mode=self._run.settings.mode,
        )
        if self.upload_images:
            cells = [[row.file_name, pictures / row.file_name, row.text] for row in rows[:MOST_ROWS]]
            sheet = make_contact_sheet([pictures / row.file_name for row in rows])
            shown = {"pictures": _table(["file", "picture", "caption"], cells), "contact_sheet": wandb.Image(sheet)}
            with temporary_files_in(self._home / "wandb"):
                run.log(shown)
        run.log_artifact(made, aliases=["latest", version])
        run.finish()
        folder = run.settings.sync_dir
        if run.settings.mode == "offline":
            command = f"wandb sync {shlex.quote(str(folder))}"
            print(f"W&B is offline; to upload the dataset's record later: {command}", file=sys.stderr)
        return run.settings.mode == "online", folder

    def _shared(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What of `facts` may leave the house."""
        return dict(facts) if self.upload_images else remove_words(dict(facts))

    def finish(self) -> None:
        self._run.finish()


def make_artifact_name(text: str) -> str:
    """`text` in the letters that W&B's artifacts may have."""
    return re.sub(r"[^\w.-]", "_", text) or "_"


def _artifact(kind: str, name: str, facts: Mapping[str, Any]) -> wandb.Artifact:
    return wandb.Artifact(make_artifact_name(name), type=kind, metadata=dict(facts))


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> wandb.Table:
    cells = [[wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
    return wandb.Table(columns=list(columns), data=cells)


def repair_run_folders(folder: Path, run: str) -> tuple[int, bool]:
    """Make W&B's folder ready for another folder of a run: what a kill has left is set aside, and that is said.

    Returns:
        The number of the last row in the rest, -1 if there is none; whether a folder was set aside.
    """
    found = read_run_folders(folder, run, Record.FromString, _opened)
    for one in found:
        if not one.whole:
            warning = f"W&B: {one.path.name} was cut off, which wandb sync cannot send; it is kept in {set_aside(one)}"
            print(f"{warning}, and what is known of it is recorded again", file=sys.stderr, flush=True)
    wait_for_a_name(folder, run)
    whole = [one for one in found if one.whole]
    return max((one.last for one in whole), default=-1), len(whole) < len(found)


def start(arguments: dict[str, Any], at_home: bool = False, offline: bool = False, mode: str | None = None) -> Any:
    """wandb.init, online if there is a key and the server answers, else offline.

    Args:
        at_home: leave out what W&B finds out by itself, for the command line may hold prompts.
        offline: do not ask the server, whatever key there is.
        mode: of another run that is open, whose key the client does not tell while it is.

    Raises:
        CommError, UsageError: it cannot be recorded here, or not while another run is open.
    """
    quiet = wandb.Settings(
        silent=True, console="off", init_timeout=PATIENCE, login_timeout=PATIENCE, x_disable_meta=at_home
    )
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    silence = ServerSilence(Path(arguments["dir"]), str(wandb.setup().settings.base_url))
    if mode == "online" and (offline or silence.lasts()):
        mode = "offline"
    began = time.monotonic()
    try:
        run = wandb.init(**(arguments | {"mode": mode}), settings=quiet)
    except (CommError, UsageError):
        if mode == "offline" or wandb.run is not None:
            raise
        # A key that is refused is told at once, and a new one should be tried at once.
        if time.monotonic() - began >= PATIENCE / 2:
            silence.begin()
            warning = f"W&B's server did not answer; no run asks it again for {LASTS // 60} minutes"
            print(f"warning: {warning} (or delete {silence.path})", file=sys.stderr, flush=True)
        # The client's service holds on to the id that it failed with.
        wandb.teardown()
        run = wandb.init(**arguments, mode="offline", settings=quiet)
    else:
        if mode == "online":
            silence.end()
    _opened[Path(run.settings.sync_dir).resolve()] = -1
    return run


def has_key() -> bool:
    """Whether W&B's client finds credentials (environment, netrc, settings); nothing is asked or sent."""
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except Exception:  # noqa: BLE001 - a malformed key is as good as none
        return False

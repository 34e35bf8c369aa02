"""A run of the second door: everything from pictures to the report, in a folder of its own.

The dataset comes from cache/datasets/<fingerprint>, so that runs whose data stages agree share one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from filelock import FileLock

from lorakiln.artefacts.atomic_file import remove_abandoned
from lorakiln.artefacts.code_digest import compute_code_key, find_code
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.folder_state import FolderState
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_data, hash_file, hash_folder
from lorakiln.artefacts.json_files import read_json, write_json, write_text
from lorakiln.artefacts.output_record import locate_record
from lorakiln.artefacts.partial_results import hand_on_partial_results, link_or_copy
from lorakiln.chain import DATA, RESULTS, TRAIN, list_namespaces, locate_folders, select_settings
from lorakiln.console.errors import UserError
from lorakiln.console.memory import free_memory
from lorakiln.evaluate.drawing_checks import check_drawing
from lorakiln.families import load_family
from lorakiln.lora_files.identity import hash_lora
from lorakiln.schema.marks import read_setting, walk
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.registry import list_modules
from lorakiln.schema.strict_yaml import dump_yaml
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.schema.whole_config import Config
from lorakiln.sweep.jobs import STATE, TRAINED
from lorakiln.sweep.titles import make_short_titles
from lorakiln.tools.dataset_cache import (
    FOLDER,
    KEPT,
    UNFINISHED,
    choose_surplus,
    find_newest,
    hold,
    is_whole,
    list_cached,
    remove_unheld,
)
from lorakiln.train.devices import find_accelerator
from lorakiln.train.precision import choose_precision
from lorakiln.train.quantized_layers import check_quantize
from lorakiln.train.sample_pictures import check_asked_samples
from lorakiln.train.takeover import take_over


def run_pipeline(config: Config, folder: Path, experiment: str | None = None) -> None:
    """Make the dataset if it is not there, train, export and evaluate.

    Args:
        experiment: its name, for the tracker; None: what the folder it lies in is called.
        folder: where `run`, `lora` and `report` are written, as `dvc repro` writes them below outputs/.

    Raises:
        UserError: whatever a stage refuses.
    """
    # Before the pictures and the training, which take long: the stages would refuse it after them.
    find_accelerator(config.train.trainer)
    check_quantize(config.train.trainer.quantize)
    family = check_drawing(config.evaluate, config.model)
    check_asked_samples(config.train, family, config.model.resolution)
    data = make_dataset(config)
    free_memory()  # what one stage held on the device is nothing to the next
    leader = is_leader()
    if leader:
        text = dump_yaml(config.model_dump(mode="json"))
        remove_abandoned(folder / "resolved.yaml")
        write_text(folder / "resolved.yaml", text)
    _train(config, data, folder, experiment, leader)
    if not leader:
        return
    folders = locate_folders(data, DATA) | locate_folders(folder, (TRAIN, *RESULTS))
    for stage in RESULTS:
        free_memory()
        stage.update(folders, select_settings(config))


def _train(config: Config, data: Path, folder: Path, experiment: str | None, leader: bool) -> None:
    """Train, or take what has been trained with the same settings and pictures."""
    cache = Path(config.paths.cache).resolve()
    settings = config.train.model_copy(update={"tracker": _shown(config.train.tracker, folder, experiment)})
    key, run = compute_training_key(config, data), folder / "run"
    job = str(folder.resolve()) if (folder / STATE).exists() else None
    # Jobs that differ only in what comes after the training share one: the others wait for the first.
    sharing = _locked(cache / "trainings" / key[:16]) if job and leader else nullcontext()
    with sharing:
        trained = find_trained(folder, key)
        if trained is None:
            folders = locate_folders(data, DATA) | {TRAIN.writes: run}
            named = select_settings(config.model_copy(update={"train": settings}))
            TRAIN.run(folders, named, cache / "checkpoints", job)
        elif leader:
            print(f"training: reusing {trained / 'run'}, which these settings and pictures have made", flush=True)
            if trained.resolve() == folder.resolve():
                return
            if job:
                take_over(trained / "run", data / "encoded", run, settings, config.model, cache.parent)
            else:  # it was stopped, and what follows is logged into its tracker's record
                with replacing(run) as fresh:
                    shutil.copytree(trained / "run", fresh, dirs_exist_ok=True)
                hand_on_partial_results(trained / "report", folder / "report")
        if leader:
            remove_abandoned(folder / TRAINED)
            write_json(folder / TRAINED, {"key": key})


def compute_training_key(config: Config, data: Path) -> str:
    """What training reads: its settings and, by content, the dataset, the base model and the file to go on from; and
    the code that trains."""
    start, prompts = config.train.adapter.init_from, config.train.samples.file
    device = torch.device("cuda" if find_accelerator(config.train.trainer) == "gpu" else "cpu")
    family = load_family(config.model, ())
    return hash_data(
        find_code(TRAIN.module, type(family), *list_modules(config.train)).digest,
        data.name,
        family.facts["hash"],
        hash_lora(Path(start)) if start else None,
        hash_file(Path(prompts)) if prompts else None,
        config.train.model_dump(mode="json"),
        choose_precision(config.train.trainer.precision, device),  # "auto" is another thing on another machine
    )


def find_trained(folder: Path, key: str) -> Path | None:
    """The run's folder if its training is done; else another one whose training can be taken.

    For a job of a sweep that of another job. For a run that begins anew in a folder of its own the newest of the same
    experiment that was stopped after just this training and before its report.
    """
    if is_trained(folder, key):
        return folder
    others = [done.parent for done in folder.resolve().parent.glob(f"*/{TRAINED}")]
    others = [one for one in sorted(others) if is_trained(one, key)]
    if (folder / STATE).exists():
        return next((one for one in others if (one / STATE).exists()), None)
    stopped = [one for one in others if not (one / "report").exists() and not (one / STATE).exists()]
    return stopped[-1] if stopped else None


def is_trained(folder: Path, key: str) -> bool:
    """Whether a run's folder holds the whole of the training that `key` stands for.

    `run` is put in its place whole and the key is written after it, so that what was stopped in between trains again.
    """
    done = folder / TRAINED
    return done.is_file() and (folder / "run" / "facts.json").is_file() and read_json(done).get("key") == key


def _shown(tracker: TrackerSettings, folder: Path, experiment: str | None) -> TrackerSettings:
    """With the group and the name that the settings leave open.

    runs/<experiment>/<time> is "<experiment> <time>" in the group "<experiment>". A job of a sweep, in
    runs/<experiment>/<sweep>/<job>, is called by what sets it apart, in the group "<experiment> <sweep>".
    """
    folder = folder.resolve()
    state = folder / STATE
    if state.exists():
        group = f"{experiment or folder.parent.parent.name} {folder.parent.name}"
        (name,) = make_short_titles([read_json(state).get("own") or [folder.name]])
    else:
        group = experiment or folder.parent.name
        name = f"{group} {folder.name}"
    return tracker.in_group(group).named(name)


def make_dataset(config: Config) -> Path:
    """The folder that holds `prepared`, `captioned` and `encoded` for this config, made if it is not there."""
    raw = Path(config.paths.raw) / config.prepare.dataset
    check_pulled(raw)
    if not raw.is_dir():
        known = sorted(path.name for path in raw.parent.glob("*") if path.is_dir())
        raise UserError("no such folder", where=raw, fix=f"datasets here: {', '.join(known) or 'none'}")
    state = FolderState(raw)
    cache = Path(config.paths.cache)
    folder = cache / FOLDER / compute_data_key(config, raw)
    hold(folder)
    with _locked(folder):
        if is_whole(folder):
            print(f"data: reusing {folder}", flush=True)
            return folder
        begin_with_earlier(folder, find_newest(cache, config.prepare.dataset))
        for stage in DATA:
            stage.update({"raw": raw, **locate_folders(folder, DATA)}, select_settings(config))
            if "raw" in stage.reads:
                state.check()  # else other pictures would be kept under the key of these
        (folder / UNFINISHED).unlink(missing_ok=True)
    surplus = choose_surplus(list_cached(cache), KEPT)
    remove_unheld(cache, [one.folder for one in surplus if one.dataset == config.prepare.dataset])
    return folder


def begin_with_earlier(folder: Path, newest: Path | None) -> None:
    """Give a folder that is new the outputs of another one of the same dataset, so that its stages make anew only what
    differs: of one changed caption one embedding. They are second names of the same files, which no stage changes in
    place.
    """
    if newest is None or any((folder / stage.writes).exists() for stage in DATA):
        return
    (folder / UNFINISHED).touch()  # before what looks like a finished dataset
    with explaining_disk_errors(folder):
        for stage in DATA:
            out = newest / stage.writes
            for path in (locate_record(out), *out.rglob("*")):
                if path.is_file():
                    link_or_copy(path, folder / path.relative_to(newest))


def compute_data_key(config: Config, raw: Path) -> str:
    """What the data stages read, as 16 hex digits: pictures, base model, networks and settings; and their code."""
    spaces = [getattr(config, name) for name in list_namespaces(DATA)]
    settings = [space.model_dump(mode="json") for space in spaces]
    pictures = hash_folder(raw, config.prepare.follow_symlinks)
    family = load_family(config.model, ())
    code = compute_code_key(*(stage.module for stage in DATA), type(family), *list_modules(*spaces))
    named = [one.path for one in walk(PrepareSettings) if one.marks.names and one.marks.names.sort == "network"]
    files = [Path(read_setting(config.prepare.model_dump(), path) or "").expanduser() for path in named]
    # Of one that is not there, `prepare` says so.
    networks = [hash_file(file) for file in files if file.is_file()]
    return hash_data(code, pictures, family.facts["hash"], settings, *networks)[:16]


def is_leader() -> bool:
    """True in the one process that writes what comes after training (Lightning, torchrun and SLURM set these)."""
    # Imported late: below `train` Lightning is imported first, see `libraries.import_lightning`.
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    if SLURMEnvironment.detect():
        return SLURMEnvironment().global_rank() == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Jobs of a sweep that want the same dataset wait for the one that makes it; the kernel frees a dead one's lock."""
    with explaining_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock").acquire()
    with lock:
        yield

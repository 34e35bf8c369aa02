"""A LoRA file for the team's registry: which file is meant, what is told of it, the experiment that makes it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, write_json, write_text
from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.console.errors import UserError
from lorakiln.facts.choice import Recommended
from lorakiln.facts.file import Facts
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.lora_files.base_model import find_base_version
from lorakiln.lora_files.kohya_metadata import TRIGGER
from lorakiln.lora_files.reading import read_any
from lorakiln.schema.export import ExportSettings
from lorakiln.tools.other_configs.imported import TRAIN_NAME, name_experiment
from lorakiln.tools.other_configs.translation import translate_file

EXPERIMENT, TOLD = "experiment.yaml", "provenance.json"
UNKNOWN = "unknown"  # of a base, where nothing in a file tells it


class Origin(Facts):
    """What made a promoted file, as far as is known: provenance.json beside it, and the facts of its version.

    Attributes:
        file: the LoRA's name.
        files: SHA-256 by the name of each file that goes with it; provenance.json does not hold its own.
        base: how kohya's names of the base model begin (sd_v1, ...), or "unknown".
        base_name, base_hash, dataset_name, dataset_hash: of what it was trained with.
        lorakiln: the version of this program; `libraries`: of those that decide a training's numbers.
        commit: that was checked out; `touched`: whether tracked files differed from it.
        device: what it was trained on, with `threads` of the processor; other ones round otherwise.
        run: of the tracker, as entity/project/id.
        repeats: whether the same settings give the same bytes; None: not known.
    """

    file: str
    files: dict[str, str] = {}
    base: str
    base_name: str | None = None
    base_hash: str | None = None
    dataset_name: str | None = None
    dataset_hash: str | None = None
    step: int | None = None
    trigger: str | None = None
    lorakiln: str | None = None
    libraries: dict[str, str] | None = None
    python: str | None = None
    commit: str | None = None
    touched: bool | None = None
    device: str | None = None
    threads: int | None = None
    run: str | None = None
    recommended: Recommended | None = None
    repeats: bool | None = None


@dataclass(frozen=True)
class Chosen:
    """A LoRA file, with what lies around it.

    Attributes:
        facts: of its export, if it lies where it was exported.
        provenance: of its run, if that is there; `tracker`: the run's record.
    """

    file: Path
    metadata: Mapping[str, str]
    facts: LoraFacts | None
    provenance: Mapping[str, Any]
    tracker: Mapping[str, Any]


def find_chosen(what: Path) -> Chosen:
    """The file that `what` means: a run's folder, such as outputs; what `export` wrote; or a LoRA file.

    Raises:
        UserError: there is none, or it is not what was exported.
    """
    folder = next((one for one in (what / "lora", what) if (one / "facts.json").is_file()), None)
    if folder is None and not what.is_file():
        fix = "name a run's folder, such as outputs, an export's, such as outputs/lora, or a .safetensors file"
        raise UserError("no LoRA is here", where=what, fix=fix)
    facts = _read_facts(folder or what.parent, None if folder else what.name)
    file = folder / facts.file if folder and facts else what
    if facts and file.name == facts.file and hash_file(file) != facts.hash:
        fix = "export again, or copy the file elsewhere and name it there: nothing but itself is told of it then"
        raise UserError("is not the file that was exported", where=file, fix=fix)
    run = _find_run(file.parent.parent / "run", facts)
    provenance = read_json(run / "provenance.json") if run else {}
    tracker = read_json(run / "tracker.json") if run and (run / "tracker.json").is_file() else {}
    return Chosen(file, read_metadata(file), facts, provenance, tracker)


def _read_facts(folder: Path, file: str | None) -> LoraFacts | None:
    """What is said of a folder that was exported; None where it says nothing of `file`."""
    if not (folder / "facts.json").is_file():
        return None
    facts = LoraFacts.read(folder / "facts.json")
    return facts if file is None or file in (facts.file, *facts.files) else None


def _find_run(folder: Path, facts: LoraFacts | None) -> Path | None:
    """The run that an export was made of, if the one that lies beside it is that."""
    if facts is None or not (folder / "facts.json").is_file() or not (folder / "provenance.json").is_file():
        return None
    run = RunFacts.read(folder / "facts.json")
    steps = {one.step for one in run.adapters}
    mine = run.base.hash == facts.base.hash and run.dataset.hash == facts.dataset.hash and facts.step in steps
    return folder if mine else None


def write_files(chosen: Chosen, name: str, folder: Path) -> tuple[dict[str, Path], Origin]:
    """What is promoted, the notes among it written into `folder`: files by name, and what is told of them.

    Args:
        name: under which it is promoted.

    Raises:
        UserError: it is no LoRA.
    """
    origin = describe_origin(chosen)
    files = {chosen.file.name: chosen.file}
    if "lorakiln_settings" in chosen.metadata:
        files[EXPERIMENT] = folder / EXPERIMENT
        write_text(files[EXPERIMENT], format_experiment(chosen, origin, name))
    hashes = {name: hash_file(path) for name, path in files.items()}
    files[TOLD] = folder / TOLD
    write_json(files[TOLD], origin.changed(files=hashes).to_dict())
    return files, origin.changed(files={**hashes, TOLD: hash_file(files[TOLD])})


def check_base(origin: Origin, newest: Mapping[str, Any], name: str) -> None:
    """Refuse a file for another kind of base than what stands under a name: whoever uses the name could not load it.

    Args:
        newest: the facts of the version that is there.

    Raises:
        UserError: both are known, and differ.
    """
    theirs = newest.get("base", UNKNOWN)
    if UNKNOWN not in (theirs, origin.base) and theirs != origin.base:
        what = f"it is for {origin.base}, and the newest {name} is for {theirs}, another base"
        raise UserError(what, where=origin.file, fix="give another NAME")


def describe_origin(chosen: Chosen) -> Origin:
    """What is known of how a file came to be; of machines no name and no place.

    Raises:
        UserError: it is no LoRA.
    """
    told, facts, ran = chosen.metadata, chosen.facts, chosen.provenance
    record, git = chosen.tracker, ran.get("git") or {}
    step = told.get("lorakiln_step")
    settings = facts.made_with("export", ExportSettings) if facts else None
    run = (record.get("entity"), record.get("project"), record.get("id"))
    return Origin(
        file=chosen.file.name,
        base=find_base_version(read_any(chosen.file, weights_only=True).adapter),
        base_name=told.get("ss_sd_model_name"),
        base_hash=told.get("lorakiln_base_hash"),
        dataset_name=facts.dataset.name if facts else None,
        dataset_hash=told.get("lorakiln_dataset_hash"),
        step=int(step) if step and step.isdigit() else None,
        trigger=told.get(TRIGGER),
        lorakiln=told.get("lorakiln_version"),
        libraries=ran.get("libraries"),
        python=ran.get("python"),
        commit=git.get("commit"),
        touched=git.get("changed"),
        device=ran.get("device"),
        threads=ran.get("threads"),
        run="/".join(one for one in run if one) if record.get("url") else None,
        recommended=facts.recommended if facts and chosen.file.name == facts.file else None,
        repeats=not settings.timestamps if settings else None,
    )


def format_experiment(chosen: Chosen, origin: Origin, name: str) -> str:
    """conf/experiment/NAME.yaml that makes the file again: its settings, and the step that was taken."""
    _, imported = translate_file(chosen.file)
    export = imported.settings["export"]
    if chosen.facts:
        given = chosen.facts.made_with("export", ExportSettings).model_dump(mode="json")
        export |= {key: value for key, value in given.items() if key not in ("name", "push_to_hub")}
    if origin.step is not None:
        export["which"] = origin.step
        imported.settings["choose"] = {"checkpoints": "none"}  # it is chosen
    command = TRAIN_NAME.replace("NAME", name_experiment(name))
    return imported.format_experiment([f"Makes {origin.file} again, as it was promoted.", f"  {command}"])

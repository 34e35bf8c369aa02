"""What is found wrong before the first job starts: every job's whole config, and what the jobs are compared by."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.whole_config import check_whole
from lorakiln.sweep.jobs import Job
from lorakiln.sweep.objectives import VALIDATION_LOSS, list_possible_names

MOST = 12  # problems that are listed
# By section the settings that decide of what a validation loss is, or all but those that do not.
MEASURED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "model": ((), ("clip",)),
    "prepare": ((), ("workers", "enlarged_above", "blurred_above", "border_above", "cropped_above")),
    "caption": ((), ("batch_size",)),
    "encode": (("clip_skip", "max_tokens", "dtype"), ()),
    # Which noise is added at a timestep follows from the last.
    "train.objective": (("min_timestep", "max_timestep", "zero_terminal_snr"), ()),
    "train.validation": (("fraction", "draws", "seed"), ()),
}


def check_jobs(jobs: Sequence[Job]) -> None:
    """Check each job's config as the job itself will, and that its dataset is there.

    Raises:
        ConfigError: with every problem of every job, each once, and the first job that has it.
    """
    found: dict[str, list[Job]] = {}
    for job in jobs:
        for problem in _problems(job.settings):
            found.setdefault(problem, []).append(job)
    if not found:
        return
    lines = [f"{problem}  [{_named(wrong)}]" for problem, wrong in found.items()]
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    wrong = {job.number for several in found.values() for job in several}
    raise ConfigError(
        [*lines[:MOST], *more], fix=f"mend them; {len(wrong)} of {len(jobs)} jobs are wrong, and none was started"
    )


def check_objectives(jobs: Sequence[Job], objectives: Sequence[str], prune: bool = False) -> None:
    """Check that the reports of these jobs will have what a search looks for.

    Args:
        jobs: whose settings are right.
        prune: by the validation loss, which must then be measured.

    Raises:
        UserError: a name that no report has, or one twice; no validation loss, or one that is of something else in one
            job than in another.
    """
    where = "hydra.sweeper.objectives"
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError(
            f"[{', '.join(objectives)}] holds {'a name twice' if objectives else 'nothing'}",
            where=where,
            fix="name each thing that is looked for once, such as [likeness,obedience]",
        )
    if prune or VALIDATION_LOSS in objectives:
        _check_comparable(jobs, "hydra.sweeper.prune" if prune else where)
    for job in jobs:
        unmeasured = job.settings["train"]["validation"]["every"] == 0
        if unmeasured and (prune or VALIDATION_LOSS in objectives):
            raise UserError(
                f"it goes by the validation loss, which is never measured ({job.title})",
                where="hydra.sweeper.prune" if prune else where,
                fix="set train.validation.every to a number of steps",
            )
        known = list_possible_names(job.settings["evaluate"])
        for name in objectives:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}? " if near else ""
                raise UserError(f"no report has {name!r}", where=where, fix=f"{hint}choose among: {', '.join(known)}")


def _check_comparable(jobs: Sequence[Job], where: str) -> None:
    measured = [_measured(job.settings) for job in jobs]
    differing = [key for key in measured[0] if len({repr(one.get(key)) for one in measured}) > 1]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"it goes by the validation loss, which is of other pictures, captions, timesteps or noise where "
            f"{', '.join(differing[:3])}{more} differ",
            where=where,
            fix="look for likeness and obedience, which compare, or give each of these one value",
        )


def _measured(settings: dict[str, Any]) -> dict[str, Any]:
    """What a validation loss is of, by the settings' names."""
    found: dict[str, Any] = {}
    for path, (kept, left) in MEASURED.items():
        space = settings
        for name in path.split("."):
            space = space[name]
        found |= {f"{path}.{name}": space[name] for name in (kept or space) if name not in left}
    return found


def _problems(settings: dict[str, Any]) -> list[str]:
    try:
        config = check_whole(settings)
    except ConfigError as error:
        return error.problems
    raw = Path(config.paths.raw) / config.prepare.dataset
    return [] if raw.is_dir() else [f"prepare.dataset: there is no folder {raw}"]


def _named(jobs: Sequence[Job]) -> str:
    return jobs[0].title + (f", and {len(jobs) - 1} more" if len(jobs) > 1 else "")

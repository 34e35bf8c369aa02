"""`compose`: conf/ and params.yaml -> outputs/resolved.yaml, validated as a whole; and what DVC compares of the code.

A stage depends on outputs/.code/<stage>, a digest of the code that decides what it makes, and not on files of code: a
comment in them, or another kind of optimizer beside the one in use, is no reason to train again. With it stand digests
of the files that the training's settings name, since dvc.yaml cannot know them.
"""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys
from pathlib import Path
from typing import Any

from hydra_plugins.lorakiln_conf.composing import compose_config
from lorakiln.artefacts.atomic_file import remove_abandoned
from lorakiln.artefacts.dvc_pointers import check_pulled, is_unpulled
from lorakiln.artefacts.file_safety import check_openable
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import write_text
from lorakiln.chain import CHAIN, TRAIN, compute_stage_code
from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.families.model_source import is_hub_id
from lorakiln.schema.strict_yaml import dump_yaml, read_yaml
from lorakiln.schema.whole_config import Config, check_whole
from pipelines.lock import keep_lock
from pipelines.resolved import RESOLVED

PARAMS = Path("params.yaml")
TIMESTEPS = 1000  # of the bases that are known
CODE = RESOLVED.with_name(".code")


def make_overrides(params: dict[str, Any]) -> list[str]:
    """params.yaml as a Hydra command line; later overrides win, so the user's come last."""
    from hydra_plugins.lorakiln_conf.quoting import quote_value

    if unknown := sorted(str(key) for key in set(params) - {"experiment", "dataset", "overrides"}):
        raise UserError(f"unknown keys {unknown}", where=PARAMS, fix="keep experiment, dataset and overrides alone")
    for key in ("experiment", "dataset"):
        if not isinstance(params.get(key), str | None):
            raise UserError(f"`{key}` is no name", where=PARAMS, fix="write a name; in quotes, if it is a number")
    given = params.get("overrides") or []
    if not isinstance(given, list) or not all(isinstance(line, str) for line in given):
        raise UserError("`overrides` is no list of texts", where=PARAMS, fix='write it as ["train.optimizer.lr=1e-4"]')
    overrides = [f"+experiment={params['experiment']}"] if params.get("experiment") else []
    if params.get("dataset"):
        overrides.append(f"prepare.dataset={quote_value(params['dataset'])}")
    return [*overrides, *given]


def format_resolved(config: Config, experiment: str | None) -> str:
    """What the stages read: every setting as the schema has it. The tracker shows an experiment's runs together."""
    tracker = config.train.tracker.in_group(experiment)
    named = config.model_copy(update={"train": config.train.model_copy(update={"tracker": tracker})})
    return dump_yaml(named.model_dump(mode="json"))


def main() -> None:
    keep_lock()
    params = read_yaml(PARAMS)
    checked = check_whole(compose_config(make_overrides(params)))
    if params.get("dataset") and checked.prepare.dataset != params["dataset"]:
        # dvc.yaml depends on data/raw/${dataset} as params.yaml names it; without a name on all of data/raw.
        raise UserError(
            f"it says dataset: {params.get('dataset')}, but the config's prepare.dataset is {checked.prepare.dataset}",
            where=PARAMS,
            fix="name the dataset in params.yaml's `dataset` alone, or leave that empty",
        )
    raw = Path(checked.paths.raw)
    check_pulled(raw / checked.prepare.dataset)
    _look_first(checked, bool(params.get("dataset")))
    _warn_of_device(checked)
    _check_base(checked)
    if not params.get("dataset"):
        _warn_of_unpulled(raw, checked.prepare.dataset)
    remove_abandoned(RESOLVED)
    write_text(RESOLVED, format_resolved(checked, params.get("experiment")))
    files = {TRAIN: hash_named_files(checked)}
    for stage in CHAIN:
        code = compute_stage_code(stage, checked, f"pipelines.{stage.name}")
        remove_abandoned(CODE / stage.name)
        write_text(CODE / stage.name, "".join(f"{line}\n" for line in (code, *files.get(stage, ()))))


def hash_named_files(config: Config, conf: Path = Path("conf")) -> list[str]:
    """A line for each file whose content decides the training: its setting, and 16 digits. DVC runs `compose` again
    after a change of one that lies in `conf`; of another it is told, on stderr, that DVC does not look at it.

    Raises:
        UserError: one is not there, or no such file.
    """
    start, prompts = config.train.adapter.init_from, config.train.samples.file
    lines = []
    if prompts:
        from lorakiln.train.sample_file import read_sample_file

        read_sample_file(Path(prompts))  # else it is told after the pictures are encoded
        lines.append(f"train.samples.file {hash_file(Path(prompts))[:16]}")
        if not Path(prompts).resolve().is_relative_to(conf.resolve()):
            told = f"warning: train.samples.file: `dvc repro` does not look at {prompts}, and takes it as it was\n"
            fix = f"keep it in {conf}, which it looks at; or after a change of it, run `dvc repro -f compose`"
            print(f"{told}  fix: {fix}", file=sys.stderr, flush=True)
    if start and Path(start).is_file():  # else the training says so
        lines.append(f"train.adapter.init_from {hash_file(Path(start))[:16]}")
    return lines


def _warn_of_unpulled(raw: Path, dataset: str) -> None:
    """Say how to go on where others' datasets were not fetched: DVC says next that they are missing, and no more."""
    absent = [path.stem for path in sorted(raw.glob("*.dvc")) if is_unpulled(path.with_suffix(""))]
    if absent:
        print(
            f"warning: only their DVC pointers are in {raw}: {', '.join(absent)}; DVC wants all of {raw} while "
            f'params.yaml says dataset: ""\n  fix: go on without them by `dvc repro --allow-missing`, or by dataset: '
            f"{dataset} in params.yaml; or fetch them by `dvc pull`",
            file=sys.stderr,
            flush=True,
        )


def _look_first(config: Config, named: bool) -> None:
    """Refuse what DVC would open next, and hang in or break off without a word: pipes, devices, links to nothing.

    Args:
        named: whether params.yaml names the dataset; else DVC looks at all of data/raw.
    """
    raw, prepare = Path(config.paths.raw), config.prepare
    # With on_bad=skip `prepare` leaves out what links lead to; what cannot be read at all keeps DVC from getting there.
    check_openable(raw / prepare.dataset, prepare.follow_symlinks or prepare.on_bad == "skip")
    if not named:
        try:
            check_openable(raw, follow_links=True)
        except UserError as error:
            fix = "mend or remove them, or name your dataset in params.yaml, so that DVC looks at no other"
            raise UserError(error.what, where=error.where, fix=fix) from error


def _check_base(config: Config) -> None:
    """Refuse before the data stages what later ones would refuse after them: a base that is cut off, of another family
    or not there, and sizes and steps that it cannot draw.

    A base that the hub lends is fetched by the first stage that needs it, and is looked at here only where a size is
    named or the steps are many.
    """
    asked, samples = config.evaluate, config.train.samples
    steps = max(asked.steps, samples.steps)
    if not is_hub_id(config.model.path) or asked.width or asked.height or samples.file or steps >= TIMESTEPS:
        from lorakiln.evaluate.drawing_checks import check_drawing
        from lorakiln.train.sample_pictures import check_asked_samples

        family = check_drawing(asked, config.model)
        check_asked_samples(config.train, family, config.model.resolution)


def _warn_of_device(config: Config) -> None:
    """Say before the data stages what training would say after them; another machine may train, so it is no error."""
    if config.train.trainer.accelerator == "gpu":
        import torch

        if not torch.cuda.is_available():
            print(
                "warning: no CUDA device is here: this machine's `train` will refuse train.trainer.accelerator=gpu; "
                "train/trainer=cpu trains on the CPU",
                file=sys.stderr,
            )


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))

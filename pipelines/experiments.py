"""What `make experiments` shows: each of DVC's experiments with what sets it apart and how good it is.

`dvc exp show` has a column for each of some hundred settings, and shows of a queued experiment the settings of the
commit that it starts from; here what was asked of it counts.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorakiln.console.errors import UserError, exit_on_user_error

ASKED = ("experiment", "dataset")
SCORES = ("likeness", "obedience")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        state: "queued", "running", "success", "failed", "done"; empty for a commit and the workspace.
        asked: what params.yaml says: "experiment=smoke", "train.adapter.rank=8", ...
        settings: the resolved ones by their dotted names; empty until the experiment is done.
        scores: those of outputs/report/scores.json, by name.
    """

    name: str
    state: str
    asked: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


def main() -> None:
    found = subprocess.run(["dvc", "exp", "show", "--json"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise UserError(found.stderr.strip(), fix="run it in a checkout with DVC and git; `dvc exp show` says more")
    rows = list(read_rows(json.loads(found.stdout)))
    console = Console(highlight=False)
    console.print(format_table(rows))
    if shared := _shared(rows):
        console.print(f"all experiments: {' '.join(shared)}", markup=False)


def read_rows(shown: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The rows of `dvc exp show --json`: each commit, then its experiments."""
    for commit in shown:
        yield _row(commit.get("name") or _short(commit["rev"]), commit.get("data") or {}, "")
        for one in commit.get("experiments") or []:
            last = one["revs"][0]
            state = (one.get("executor") or {}).get("state") or "done"
            yield _row(one.get("name") or _short(last["rev"]), last.get("data") or {}, state.lower())


def format_table(rows: Sequence[Row]) -> Table:
    """Names, states, scores, and what not all experiments share; of commits and the workspace all."""
    shared, extra = _shared(rows), _unasked(rows)
    shown = Table(box=None, pad_edge=False)
    for name in ("experiment", "state", *SCORES):
        shown.add_column(name, justify="right" if name in SCORES else "left", no_wrap=True)
    shown.add_column("what sets it apart", overflow="fold")
    for row, more in zip(rows, extra, strict=True):
        scores = [f"{row.scores[name]:.4f}" if name in row.scores else "-" for name in SCORES]
        own = [one for one in row.asked if one not in shared or not row.state] + more
        shown.add_row(row.name, row.state, *scores, Text(" ".join(own)))
    return shown


def _row(name: str, data: Mapping[str, Any], state: str) -> Row:
    files = {path: (one or {}).get("data") or {} for path, one in (data.get("params") or {}).items()}
    params = files.get("params.yaml", {})
    asked = [f"{key}={params[key]}" for key in ASKED if params.get(key)] + [
        str(one) for one in params.get("overrides") or []
    ]
    whole = state in ("", "done", "success")
    resolved = next((one for path, one in files.items() if path.endswith("resolved.yaml")), {})
    metrics = data.get("metrics") or {}
    scores = next(((one or {}).get("data") or {} for path, one in metrics.items() if path.endswith("scores.json")), {})
    # Until it is done, these are those of the commit that it starts from.
    return Row(name, state, tuple(asked), dict(_flat(resolved)) if whole else {}, scores if whole else {})


def _shared(rows: Sequence[Row]) -> list[str]:
    """What all experiments were asked; of one alone, nothing."""
    asked = [row.asked for row in rows if row.state]
    return [one for one in asked[0] if all(one in other for other in asked)] if len(asked) > 1 else []


def _short(rev: str) -> str:
    return rev if rev == "workspace" else rev[:7]


def _unasked(rows: Sequence[Row]) -> list[list[str]]:
    """For each row the settings in which it differs from others that were asked the same: conf/ was edited."""
    extra = []
    for row in rows:
        alike = [one.settings for one in rows if one.asked == row.asked and one.settings] if row.settings else []
        names = sorted({name for one in alike for name in one})
        differing = [name for name in names if len({json.dumps(one.get(name)) for one in alike}) > 1]
        extra.append([f"{name}={row.settings.get(name)}" for name in differing])
    return extra


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _flat(value, where)
        else:
            yield where, value


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))

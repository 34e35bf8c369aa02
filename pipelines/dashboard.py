"""The team's W&B workspace, and a report that compares LoRAs, as code: made once, and updated by every later call.

    python -m pipelines.dashboard --dry-run                 # print both as JSON: no account, no network
    python -m pipelines.dashboard --entity team --project lorakiln [--compare RUN RUN]

Each comparison is a report of its own, known by its title: by what it compares. Needs the extra `dashboards`
(wandb-workspaces) and, without --dry-run, a key for W&B.
"""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import argparse
import json
import sys
from typing import Any

from lorakiln.console.errors import UserError, exit_on_user_error

# What a sweep varies most, and what it is judged by.
SWEPT = {
    "rank": "train.adapter.rank",
    "alpha": "train.adapter.alpha",
    "learning rate": "train.optimizer.lr",
    "scheduler": "train.scheduler.kind",
    "batch": "train.batch_size",
    "steps": "train.steps",
}
LIKENESS = "evaluate/likeness"
OBEDIENCE = "evaluate/obedience"
GRIDS = [f"evaluate/grids/{name}" for name in ("weights", "seeds", "trigger")]
FIX = "record or sync a run there first, and see that --entity, --project and the key are right"
TITLE = 128  # letters, as many as W&B takes
VIEWS = """
query Views($entity: String, $project: String, $kind: String, $after: String) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $kind, first: 100, after: $after) {
      edges { node { id name displayName } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
COLOURS = ("#d1495b", "#edae49", "#00798c")  # from low to high


def make_workspace(entity: str, project: str) -> Any:
    """Sections for training, quality, samples, sweep, data and system."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def over_steps(title: str, *names: str, **more: Any) -> wr.LinePlot:
        return wr.LinePlot(title=title, x="step", y=list(names), **more)

    sections = {
        "Training": [
            over_steps("loss", "loss_smoothed", "loss"),
            over_steps("loss by timestep quarter, 1 the least noisy", *(f"loss_quarter/{i}" for i in range(1, 5))),
            over_steps("validation loss (fixed noise)", "validation_loss"),
            over_steps("learning rate", "lr"),
            over_steps("gradient norm", "grad_norm", log_y=True),
            wr.LinePlot(title="norm of the weight change by block", x="step", metric_regex="lora_norm/.*"),
            wr.LinePlot(title="gradient norm by block", x="step", metric_regex="grad_norm/.*", log_y=True),
        ],
        "Quality": [
            _scatter(wr, "likeness against obedience"),
            wr.BarPlot(title="likeness to the subject", metrics=[wr.SummaryMetric(LIKENESS)]),
            wr.BarPlot(title="obedience to the prompt", metrics=[wr.SummaryMetric(OBEDIENCE)]),
            wr.MediaBrowser(title="grids", media_keys=GRIDS),
        ],
        "Samples": [
            wr.MediaBrowser(title="samples", media_keys=["samples"], mode="gallery", gallery_axis="step"),
            wr.WeavePanelSummaryTable(table_name="samples_by_step"),
            wr.MediaBrowser(title="previews", media_keys=["export/previews"]),
        ],
        "Sweep": [
            _coordinates(wr),
            wr.ParameterImportancePlot(with_respect_to=LIKENESS),
            wr.ParameterImportancePlot(with_respect_to=OBEDIENCE),
            # Both axes the more the better: the front is the edge on the upper right. W&B's line of the highest point
            # so far, from left to right, would be another one.
            _scatter(wr, "likeness against obedience: the front is the upper right edge"),
        ],
        "Data": [
            wr.MediaBrowser(title="contact sheet", media_keys=["contact_sheet"]),
            wr.WeavePanelSummaryTable(table_name="pictures"),
        ],
        "System": [
            over_steps("pictures a second", "pictures_per_second"),
            over_steps("seconds a step", "step_seconds"),
            over_steps("memory, GiB", "memory_gib"),
        ],
    }
    # Not grouped: W&B's panels would draw a sweep as one point and one line. Its group stands in each run's row.
    return ws.Workspace(
        entity=entity,
        project=project,
        name="LoRAKiln",
        sections=[ws.Section(name=name, panels=panels, is_open=name != "System") for name, panels in sections.items()],
        runset_settings=ws.RunsetSettings(pinned_columns=["run:displayName", "run:group", "run:tags"]),
    )


def make_comparison(entity: str, project: str, runs: list[str], offline: bool) -> Any:
    """A report that sets LoRAs side by side.

    Args:
        runs: names or ids of the runs; all of the project's, if there are none.
        offline: leave out the entity of the set of runs, for which the client asks the service.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    # What is typed into W&B's search, a Runset's `query`, finds any name that holds it.
    wanted = expr.Or(expr.Metric("Name").isin(runs), expr.Metric("ID").isin(runs)) if runs else ""
    chosen = wr.Runset(entity="" if offline else entity, project=project, name="LoRAs", filters=wanted)
    panels = [
        wr.RunComparer(diff_only=True),
        wr.LinePlot(title="validation loss (fixed noise)", x="step", y=["validation_loss"]),
        _scatter(wr, "likeness against obedience"),
        wr.MediaBrowser(title="samples", media_keys=["samples"]),
        wr.MediaBrowser(title="grids", media_keys=GRIDS),
    ]
    return wr.Report(
        entity=entity,
        project=project,
        title=make_title(runs),
        description="What differs in the settings, how they trained, and what they draw.",
        blocks=[
            wr.H1(make_title(runs)),
            wr.P(
                "Likeness is CLIP's similarity to the training pictures; obedience its score of picture and prompt. "
                "The same prompts and seeds were drawn with both; see each run's report artifact for the intervals."
            ),
            wr.PanelGrid(runsets=[chosen], panels=panels),
        ],
    )


def make_title(runs: list[str]) -> str:
    """The report's title: equal for the same runs, in whatever order."""
    return ("LoRAs compared" + (f": {', '.join(sorted(runs))}" if runs else ""))[:TITLE]


def save(entity: str, project: str, board: Any, report: Any) -> list[str]:
    """Send both, in the place of those of the same name that are there; their addresses.

    Raises:
        UserError: there is no such project, or it may not be written to.
    """
    # By the client itself each call would make another workspace and another report.
    if found := _find(entity, project, "project-view", board.name):
        board._internal_id, board._internal_name = found["id"], found["name"]
    if found := _find(entity, project, "runs", report.title):
        report.id = found["id"]
    return [one.save().url for one in (board, report)]


def _find(entity: str, project: str, kind: str, title: str) -> dict[str, Any] | None:
    """The newest view of the project with this title: {"id", "name", "displayName"}; None if there is none."""
    import wandb
    from wandb_workspaces._graphql import execute_graphql

    asked = {"entity": entity, "project": project, "kind": kind, "after": None}
    while True:
        answer = execute_graphql(wandb.Api(), VIEWS, asked).get("project")
        if answer is None:
            raise UserError("W&B has no such project", where=f"{entity}/{project}", fix=FIX)
        views = answer["allViews"]
        for edge in views["edges"]:
            if edge["node"]["displayName"] == title:
                return edge["node"]
        if not views["pageInfo"]["hasNextPage"]:
            return None
        asked["after"] = views["pageInfo"]["endCursor"]


def _coordinates(wr: Any) -> Any:
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=name) for name, key in SWEPT.items()
    ]
    ends = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name), display_name=title)
        for name, title in ((OBEDIENCE, "obedience"), (LIKENESS, "likeness"))
    ]
    points = [wr.GradientPoint(color=colour, offset=50.0 * number) for number, colour in enumerate(COLOURS)]
    return wr.ParallelCoordinatesPlot(title="settings and scores", columns=[*columns, *ends], gradient=points)


def _scatter(wr: Any, title: str) -> Any:
    return wr.ScatterPlot(title=title, x=wr.SummaryMetric(OBEDIENCE), y=wr.SummaryMetric(LIKENESS))


def _check_account(entity: str) -> None:
    import wandb

    if not wandb.login(prompt=False, verify=False) or not entity:
        raise UserError("W&B knows nobody here", fix="wandb login, and give --entity; or --dry-run")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entity", default="")
    parser.add_argument("--project", default="lorakiln")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="runs that the report is about")
    parser.add_argument("--dry-run", action="store_true", help="print what would be made")
    given = parser.parse_args()
    if not given.dry_run:
        _check_account(given.entity)
    where = given.entity, given.project
    try:
        made = make_workspace(*where), make_comparison(*where, given.compare, given.dry_run)
    except ImportError as error:
        raise UserError("wandb-workspaces is not installed", fix='pip install "lorakiln[dashboards]"') from error
    except ValueError as error:  # the client asks the service for the project, whose runs a report shows
        raise UserError(f"W&B refused: {error}", where="/".join(where), fix=FIX) from error
    if given.dry_run:
        specs = (made[0]._to_model(), made[1]._to_model())
        told = [json.loads(spec.model_dump_json(by_alias=True, exclude_none=True)) for spec in specs]
        print(json.dumps(dict(zip(("workspace", "report"), told, strict=True)), indent=1))
        return 0
    print("\n".join(save(*where, *made)))
    return 0


def entry() -> int:
    """`main`, with what W&B's client raises told as what it is: a wrong key, no right, no connection."""
    try:
        return main()
    except Exception as error:
        if not type(error).__module__.startswith(("wandb", "requests")):
            raise
        raise UserError(f"W&B refused: {str(error).splitlines()[0]}", fix=FIX) from error


if __name__ == "__main__":
    sys.exit(exit_on_user_error(entry))

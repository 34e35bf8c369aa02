"""Which of a run's saved adapters are exported."""

from lorakiln.console.errors import UserError
from lorakiln.facts.run import SavedAdapter
from lorakiln.schema.train import TrainSettings


def choose_which(wanted: str | int, train: TrainSettings) -> str | int:
    """What "auto" comes to: a training that ends where the loss falls no more was meant to give its best; of
    another it is what `choose` recommends, and where that says nothing the last."""
    if wanted != "auto":
        return wanted
    return "best" if train.early_stopping.patience is not None else "recommended"


def choose_weights(adapters: list[SavedAdapter], wanted: str) -> list[SavedAdapter]:
    """The same adapters, with the moving averages of their weights as their files where these are wanted.

    Args:
        wanted: "ema", "raw" or "auto", which takes the averages where there are some: those were validated.

    Raises:
        UserError: averages are wanted, and there are none.
    """
    if wanted == "raw" or (wanted == "auto" and not all(one.average for one in adapters)):
        return adapters
    if not all(one.average for one in adapters):
        raise UserError(
            "the run has no moving average of its weights",
            where="export.weights=ema",
            fix="train with train.ema.decay=0.999, say, or set export.weights=raw",
        )
    return [one.changed(file=one.average) for one in adapters]


def choose_adapters(
    adapters: list[SavedAdapter], which: str | int, recommended: int | None = None
) -> tuple[SavedAdapter, list[SavedAdapter]]:
    """The adapter that gets the plain name, and those that are written beside it.

    Args:
        adapters: by step.
        which: "last", "best" (lowest validation loss), "recommended" (what `choose` says; the last if it says nothing),
            "all" (the last, and every other beside it), or a step.
        recommended: the step that `choose` recommends, if any.

    Raises:
        UserError: "best", and no saved adapter has a validation loss; or a step that was not saved.
    """
    last = max(adapters, key=lambda one: one.step)
    if isinstance(which, int):
        saved = {one.step: one for one in adapters}
        if which not in saved:
            fix = f"saved are {', '.join(map(str, sorted(saved)))}; train.save_every says which are"
            raise UserError(f"step {which} was not saved", where=f"export.which={which}", fix=fix)
        return saved[which], []
    if which == "last" or (which == "recommended" and recommended is None):
        return last, []
    if which == "recommended":
        return next(one for one in adapters if one.step == recommended), []
    if which == "all":
        return last, [one for one in adapters if one is not last]
    best = find_best_step(adapters)
    if best is None:
        raise UserError(
            "no saved adapter has a validation loss",
            where="export.which=best",
            fix="set train.keep_best=true and train.validation.every, or export the last",
        )
    return next(one for one in adapters if one.step == best), []


def find_best_step(adapters: list[SavedAdapter]) -> int | None:
    """The step of the lowest validation loss, the earlier of equals; None if no saved adapter has one."""
    judged = [(one.validation_loss, one.step) for one in adapters if one.validation_loss is not None]
    return min(judged)[1] if judged else None

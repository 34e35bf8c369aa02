"""From Hydra's sweep syntax to Optuna's distributions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution


def make_search_space(overrides: Sequence[Override]) -> tuple[list[str], dict[str, "Distribution"]]:
    """The overrides that are the same for all trials, and what is searched by key. Of equal keys the last counts.

    Raises:
        UserError: there is nothing to search, or a sweep that has no distribution.
    """
    fixed: dict[str, str] = {}
    space: dict[str, Distribution] = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        space.pop(key, None)
        if override.is_sweep_override():
            space[key] = make_distribution(override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    if not space:
        raise UserError(
            "nothing to search",
            where="hydra/sweeper=optuna",
            fix="give a setting several values: 'train.optimizer.lr=tag(log, interval(1e-5, 1e-3))'",
        )
    return list(fixed.values()), space


def make_distribution(override: Override) -> "Distribution":
    """What Optuna is to draw from.

    `a,b,c` and `choice(...)`: one of them. `range(1, 9, 2)`: steps, the end left out as in Hydra. `interval(0, 1)`: a
    real number, a whole one if both ends are; with `tag(log, ...)` around it evenly by its logarithm.

    Raises:
        UserError: another kind of sweep, such as glob, or one that has none (log of 0, an end before its start).
    """
    # Imported late: Hydra loads every plugin at every start, and Optuna is an extra.
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    try:
        if isinstance(sweep, ChoiceSweep):
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        if isinstance(sweep, RangeSweep):
            values = list(sweep.range())
            if all(isinstance(value, int) for value in values):
                return IntDistribution(values[0], values[-1], step=int(sweep.step))
            return FloatDistribution(values[0], values[-1], step=float(sweep.step))
        if isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None:
            log = "log" in sweep.tags
            if isinstance(sweep.start, int) and isinstance(sweep.end, int):
                return IntDistribution(sweep.start, sweep.end, log=log)
            return FloatDistribution(float(sweep.start), float(sweep.end), log=log)
    except (ValueError, IndexError) as error:
        raise UserError(str(error), where=override.input_line, fix="mend its ends") from error
    raise UserError("this sweep cannot be searched", where=override.input_line, fix="use choice, range or interval")


def make_sample_overrides(space: Mapping[str, "Distribution"]) -> list[list[str]]:
    """Overrides of jobs that show whether a space's values are right: the first value of everything, then each other
    value, or the other end, of one setting at a time.
    """
    from optuna.distributions import CategoricalDistribution

    from lorakiln.sweep.study import format_override

    ends = {
        key: list(values.choices) if isinstance(values, CategoricalDistribution) else [values.low, values.high]
        for key, values in space.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    others = [{**first, key: value} for key, values in ends.items() for value in values[1:]]
    return [[format_override(key, value) for key, value in sample.items()] for sample in (first, *others)]

"""The search: Hydra's syntax as Optuna's distributions, and a study that processes share and go on with."""

import json
import subprocess
import sys
from types import SimpleNamespace

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.lorakiln_sweeper.space import make_search_space
from lorakiln.console.errors import UserError
from lorakiln.sweep.objectives import find_full_weight, read_numbers, select_values
from lorakiln.sweep.study import SearchSettings, SharedStudy, format_override

SPACE = {"train.optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)}


def study(folder, objectives=("likeness",), name="test", **changes):
    settings = {"trials": 4, "seed": 0, "startup_trials": 2, "prune_startup_trials": 2, "prune_warmup_steps": 0}
    return SharedStudy(
        folder, name, f"sqlite:///{folder}/s.db", SPACE, SearchSettings(list(objectives), **settings | changes)
    )


def parsed(*overrides):
    return make_search_space(OverridesParser.create().parse_overrides(list(overrides)))


def test_hydras_sweeps_are_distributions():
    fixed, space = parsed(
        "+experiment=smoke",
        "a=1,2",
        "b=range(1,9,2)",
        "c=interval(0,1.0)",
        "d=tag(log, interval(1e-5, 1e-3))",
        "e=int(interval(2,6))",
        "train/scheduler=choice(cosine,constant)",
        "f=1,2",
        "f=3",
        "g=range(0,1,0.5)",
    )
    assert fixed == ["+experiment=smoke", "f=3"]
    distributions = optuna.distributions
    assert space == {
        "a": distributions.CategoricalDistribution(("1", "2")),
        "b": distributions.IntDistribution(1, 7, step=2),
        "c": distributions.FloatDistribution(0.0, 1.0),
        "d": distributions.FloatDistribution(1e-5, 1e-3, log=True),
        "e": distributions.IntDistribution(2, 6),
        "train/scheduler": distributions.CategoricalDistribution(("cosine", "constant")),
        "g": distributions.FloatDistribution(0.0, 0.5, step=0.5),
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+experiment=smoke", "nothing to search"),
        ("a=tag(log, interval(0, 1.0))", "mend its ends"),
        ("a=interval(3, 1)", "mend its ends"),
        ("train/scheduler=glob(*)", "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_told(override, message):
    with pytest.raises(UserError, match=message):
        parsed(override)


def test_values_are_written_as_a_command_line_takes_them():
    assert format_override("train.optimizer.lr", 1.23456789e-5) == "train.optimizer.lr=1.23457e-05"
    assert (format_override("a", 3), format_override("b", "cosine")) == ("a=3", "b=cosine")


def test_a_study_gives_as_many_trials_as_are_wanted_and_goes_on(tmp_path):
    first = study(tmp_path)
    with first.join_study():
        assert [first.next_trial() for _ in range(3)] == [0, 1, 2]
        first.tell(0, [1.0])
        first.tell_without_result(1, pruned=False)
        first.tell_without_result(2, pruned=True)
    second = study(tmp_path)
    with second.join_study():
        assert len(second.ended()) == 3
        assert second.next_trial() == 3
        second.tell(3, [2.0])
        assert second.next_trial() is None
    assert study(tmp_path, trials=5).next_trial() == 4


def test_two_processes_get_different_trials_and_different_draws(tmp_path):
    one, two = study(tmp_path), study(tmp_path)
    with one.join_study(), two.join_study():
        assert (one.next_trial(), two.next_trial()) == (0, 1)
        assert one.overrides_of(0) != two.overrides_of(1)


def test_a_trial_that_was_cut_off_goes_on_with_the_same_settings(tmp_path):
    dead, alive = study(tmp_path), study(tmp_path)
    with dead.join_study(), alive.join_study():
        number = dead.next_trial()
        # Its owner lives: nobody takes it.
        assert alive.next_trial() == 1
    # A killed owner leaves its file behind, but not its lock.
    dead._owner_file(dead._owner).touch()
    heir = study(tmp_path)
    assert heir.next_trial() == number
    assert heir.overrides_of(number) == dead.overrides_of(number)


@pytest.mark.parametrize("objective", ["likeness", "validation_loss"])
def test_hopeless_runs_are_known_by_their_validation_loss_whatever_is_looked_for(tmp_path, objective):
    search = study(tmp_path, [objective])
    numbers = [search.next_trial() for _ in range(4)]
    for number, loss in zip(numbers[:2], (0.1, 0.2), strict=True):
        assert not search.should_prune_trial(number, 10, loss)
        search.tell(number, [loss])
    assert search.should_prune_trial(numbers[2], 10, 0.9)
    assert not search.should_prune_trial(numbers[3], 10, 0.05)


def test_another_search_under_the_same_name_is_refused(tmp_path):
    study(tmp_path, ["likeness"])
    with pytest.raises(UserError, match="looks for likeness"):
        study(tmp_path, ["obedience"])
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage"):
        SharedStudy(tmp_path, "x", "sqlite:////proc/none/s.db", SPACE, SearchSettings(["likeness"], 1, 0, 1, 1, 0))


def test_losses_are_made_small_and_scores_large(tmp_path):
    search = study(tmp_path, ["obedience", "validation_loss"])
    search.tell(search.next_trial(), [30.0, 0.1])
    assert [way.name for way in search.study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_objectives_are_numbers_of_the_report(tmp_path, write_report):
    write_report(tmp_path, likeness=0.7, obedience=30.0, validation_loss=0.2)
    numbers, base = read_numbers(tmp_path)
    assert select_values(numbers, ["likeness", "clip_score", "validation_loss"]) == (0.7, 30.0, 0.2)
    assert base == pytest.approx({"image_similarity": 0.6, "clip_score": 29.9})
    with pytest.raises(UserError, match="have no sharpness\n.*likeness, obedience, validation_loss"):
        select_values(numbers, ["likeness", "sharpness"])


def test_the_base_is_at_weight_0_and_the_lora_at_the_weight_nearest_to_1(tmp_path, write_report):
    write_report(tmp_path, likeness=0.7, obedience=30.0)
    path = tmp_path / "report/metrics.json"
    # As text, "w-1.00" is the first and "w2.00" the last.
    by_weight = {"w-1.00": -1.0, "w0.00": 0.0, "w0.50": 0.5, "w1.00": 1.0, "w1.50": 1.5, "w10.00": 10.0, "w2.00": 2.0}
    scores = {name: {"mean": mean} for name, mean in by_weight.items()}
    path.write_text(json.dumps({"image_similarity": scores, "drawn": {"without": 3, "pictures": 8}}))
    full, base = read_numbers(tmp_path)
    assert (full["image_similarity"], base["image_similarity"], set(base)) == (1.0, 0.0, {"image_similarity"})
    assert find_full_weight([0.0, 0.8, 1.2]) == 0.8 and find_full_weight([-1.0, 0.0]) == -1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": True}, "cannot be pruned for several objectives"),
        ({"launcher": SimpleNamespace()}, "keeps no record of its jobs"),
    ],
)
def test_searches_that_cannot_work_are_refused(changes, message):
    from hydra_plugins.lorakiln_launcher.processes import ProcessesLauncher
    from hydra_plugins.lorakiln_sweeper.optuna_sweeper import OptunaSweeper

    sweeper = OptunaSweeper(["likeness", "obedience"], 1, 0, 1, changes.get("prune", False), 1, 0, None, None, None)
    sweeper.launcher = changes.get("launcher", ProcessesLauncher())
    with pytest.raises(UserError, match=message):
        sweeper._checked()


def test_hydra_loads_no_extra_at_its_start():
    code = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance();"
        "print([name for name in ('optuna', 'submitit', 'ray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

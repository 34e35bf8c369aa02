"""What is refused before anything starts."""

import pytest
import yaml

from hydra_plugins.lorakiln_sweeper.space import make_sample_overrides
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.metrics import list_metrics
from lorakiln.schema.evaluate import Classification, EvaluateSettings
from lorakiln.sweep.job_checks import check_jobs, check_objectives
from lorakiln.sweep.jobs import Job
from lorakiln.sweep.objectives import METRICS, list_possible_names
from lorakiln.sweep.table import DECIMALS
from pipelines.compose import compose_config

optuna = pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def smoke():
    return yaml.safe_dump(compose_config(["+experiment=smoke"]))


@pytest.fixture
def jobs(smoke, tmp_path):
    """Two jobs, each as the smoke experiment, to be changed."""
    return [Job(n, (), tmp_path / str(n), f"seed={n}", yaml.safe_load(smoke)) for n in range(2)]


def test_right_jobs_are_let_through(jobs):
    check_jobs(jobs)
    check_objectives(jobs, ["likeness", "obedience", "validation_loss", "nearest_similarity"], prune=False)


def test_every_problem_is_told_once_with_its_first_job(jobs):
    for job in jobs:
        job.settings["train"]["optimizer"]["lr"] = 5
    jobs[1].settings["train"]["adapter"]["rank"] = "abc"
    jobs[1].settings["prepare"]["dataset"] = "nowhere"
    with pytest.raises(ConfigError) as caught:
        check_jobs(jobs)
    text = str(caught.value)
    assert "train.adapter.rank: Input should be a valid integer" in text and "'abc'" in text
    assert "[seed=1]" in text and "none was started" in text
    # A dataset is looked for where the settings are right.
    jobs[1].settings["train"]["adapter"]["rank"] = 4
    jobs[1].settings["train"]["optimizer"]["lr"] = 1e-3
    with pytest.raises(ConfigError, match=r"there is no folder data/raw/nowhere  \[seed=1\]"):
        check_jobs(jobs)


@pytest.mark.parametrize(
    ("objectives", "prune", "every", "message"),
    [
        (["likness"], False, 3, "no report has 'likness'\n  fix: did you mean likeness?"),
        ([], False, 3, "holds nothing"),
        (["likeness", "likeness"], False, 3, "holds a name twice"),
        (["likeness"], True, 0, r"hydra.sweeper.prune: .* never measured \(seed=0\)"),
        (["validation_loss"], False, 0, r"hydra.sweeper.objectives: .* never measured"),
    ],
)
def test_objectives_that_no_report_will_have_are_refused(jobs, objectives, prune, every, message):
    jobs[0].settings["train"]["validation"]["every"] = every
    with pytest.raises(UserError, match=message):
        check_objectives(jobs, objectives, prune)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.objective.min_timestep", 300),
        ("train.objective.max_timestep", 700),
        ("train.objective.zero_terminal_snr", True),
        ("train.validation.seed", 1),
        ("train.validation.draws", 3),
        ("train.validation.fraction", 0.2),
        ("prepare.dataset", "demo_character"),
        ("caption.trigger", "sks"),
        ("encode.clip_skip", 2),
        ("model.path", "another"),
    ],
)
def test_a_validation_loss_of_something_else_is_not_compared(jobs, path, value):
    space, _, name = path.rpartition(".")
    section = jobs[1].settings
    for key in space.split("."):
        section = section[key]
    section[name] = value
    with pytest.raises(
        UserError, match=rf"pictures, captions, timesteps or noise where {path} differ\n  fix: look for likeness"
    ):
        check_objectives(jobs, ["validation_loss"])
    with pytest.raises(UserError, match=rf"hydra\.sweeper\.prune: .* where {path} differ"):
        check_objectives(jobs, ["likeness"], prune=True)
    check_objectives(jobs, ["likeness"])


def test_a_validation_loss_is_compared_across_what_does_not_decide_of_what_it_is(jobs):
    for section, name, value in (
        (jobs[1].settings["train"], "seed", 4),
        (jobs[1].settings["train"]["adapter"], "rank", 9),
        (jobs[1].settings["prepare"], "workers", 1),
        (jobs[1].settings["encode"], "flip", True),
    ):
        section[name] = value
    check_objectives(jobs, ["validation_loss"], prune=True)


def test_the_names_are_those_of_the_evaluation():
    question = Classification(name="style", labels=["a", "b"])
    settings = EvaluateSettings(prompts=["a"], seeds=[0, 1], weights=[0, 1], classify=[question])
    known = list_possible_names(settings.model_dump())
    expected = [
        "likeness",
        "obedience",
        "worth",
        "validation_loss",
        "bleed",
        "copies",
        "damage",
        "detail_similarity",
        "held_out_similarity",
        "nearest_similarity",
        "retrieval",
        "seed_similarity",
        "right_style",
        "image_similarity",
        "clip_score",
    ]
    # A metric that is added since has its place among them.
    assert [name for name in known if name in expected] == expected
    assert set(known) - {"likeness", "obedience", "worth", "validation_loss"} == {
        one.name for one in list_metrics(settings)
    }
    assert "seed_similarity" not in list_possible_names(settings.model_copy(update={"seeds": [3, 3]}).model_dump())


def test_what_boards_call_the_metrics():
    assert METRICS == {"likeness": "image_similarity", "obedience": "clip_score"}
    assert DECIMALS == {
        "likeness": 3,
        "obedience": 2,
        "parameters": 0,
        "training_seconds": 1,
        "peak_memory_gib": 2,
    }


def test_a_space_is_checked_by_each_value_and_each_end():
    space = {
        "a": optuna.distributions.CategoricalDistribution(["4", "abc"]),
        "b": optuna.distributions.FloatDistribution(0.1, 5.0),
    }
    assert make_sample_overrides(space) == [["a=4", "b=0.1"], ["a=abc", "b=0.1"], ["a=4", "b=5"]]

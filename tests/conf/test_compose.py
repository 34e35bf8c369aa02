"""Every shipped config composes and validates; wrong ones are refused with a way out."""

from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.whole_config import Config, check_whole
from pipelines.compose import compose_config, format_resolved, make_overrides

CONF = Path("conf")
EXPERIMENTS = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix() for path in CONF.glob("experiment/**/*.yaml")
)
NAMED = ", ".join(sorted(path.stem for path in CONF.glob("experiment/*.yaml")))  # as messages list them
GROUPS = sorted(
    f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"
    for path in CONF.glob("**/*.yaml")
    # What a subject is on one base is no group of its own: the subject takes it in by the model's name.
    if path.parent != CONF and CONF / "experiment" not in path.parents and path.parent.parent != CONF / "subject"
)
SMOKE = "+experiment=smoke"
# Those for a real base, which ask for the pictures and the words.
RECIPES = [name for name in EXPERIMENTS if "docs/recipes.md" in (CONF / f"experiment/{name}.yaml").read_text()]


def compose(*overrides: str) -> Config:
    return check_whole(compose_config(list(overrides)))


def test_there_are_experiments_and_groups():
    assert {"demo_style", "character_r16", "smoke"} <= set(EXPERIMENTS)
    assert len(GROUPS) >= 20


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    given = ["prepare.dataset=demo_style"] if experiment in RECIPES else []
    config = compose(f"+experiment={experiment}", *given)
    assert config.train.adapter.alpha == config.train.adapter.rank
    assert (Path(config.paths.raw) / config.prepare.dataset).is_dir()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_header_of_an_experiment_is_the_command_that_runs_it(experiment):
    header = [
        line for line in (CONF / f"experiment/{experiment}.yaml").read_text().splitlines() if line.startswith("#")
    ]
    assert header[0] == "# @package _global_"
    assert any(f"python -m train +experiment={experiment}" in line for line in header)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_member_composes_with_every_other_default(group):
    compose(SMOKE, group, "train.scheduler.warmup_steps=0")


CHARACTER = "+experiment=character_r16"
REAL = [model.split("=")[1] for model in GROUPS if model.startswith("model=") and model != "model=tiny"]


def sweep_of(*overrides: str) -> dict[str, str]:
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        whole = hydra_compose("config", list(overrides), return_hydra_config=True)
    return dict(whole.hydra.sweeper.params)


@pytest.mark.parametrize("model", REAL)
def test_no_setting_of_the_mascot_reaches_a_real_base(model):
    own = (CHARACTER, f"model={model}", "prepare.dataset=mine", "caption.trigger=sks")
    config = compose(*own)
    assert (config.train.optimizer.lr, config.train.adapter.targets) == (1e-4, "attention")
    for word in ("kilnling", "demo_character", "red background"):
        assert word not in config.model_dump_json()
    assert sweep_of(*own)["train.optimizer.lr"] == "5e-5,1e-4"
    assert compose(*own[:3]).caption.trigger == ""
    with pytest.raises(UserError, match=r"prepare\.dataset"):
        compose(*own[:2])


@pytest.mark.parametrize("experiment", ["demo_style", "smoke"])
def test_the_demo_and_the_tests_stay_on_the_cpu(experiment):
    assert compose(f"+experiment={experiment}").train.trainer.accelerator == "cpu"
    assert compose(f"+experiment={experiment}", "train/trainer=gpu").train.trainer.accelerator == "gpu"
    assert compose(CHARACTER).train.trainer.accelerator == "auto"


def test_the_tiny_base_draws_the_mascot():
    config = compose(CHARACTER)
    assert (config.prepare.dataset, config.caption.trigger) == ("demo_character", "a kilnling")
    assert (config.train.optimizer.lr, config.train.adapter.targets) == (1e-3, "locon")
    assert sweep_of(CHARACTER)["train.optimizer.lr"] == "5e-4,1e-3"


def test_a_sweep_over_rank_keeps_the_scale():
    adapter = compose(SMOKE, "train.adapter.rank=64").train.adapter
    assert (adapter.rank, adapter.alpha) == (64, 64)


def test_all_wrong_settings_are_told_at_once_with_their_paths():
    with pytest.raises(ConfigError) as caught:
        compose(SMOKE, "+train.stepz=4", "train.adapter.rank=-3", "prepare.bucket.step=0", "train.optimizer.lr=fast")
    text = str(caught.value)
    for part in (
        "train.stepz: unknown setting; did you mean steps?",
        "train.adapter.rank",
        "prepare.bucket.step",
        "train.optimizer.lr",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch_size=6", "train.micro_batch=4"], "nearest: 4 or 8"),
        (["train.scheduler.warmup_steps=999"], "more than steps"),
        (["prepare.resolution=65"], "multiple of bucket.step"),
        (["prepare.resolution=16"], "bucket.min"),
        (["evaluate.weights=[1.0]"], "weights must hold 0"),
        (["prepare.dataset=../secrets"], "prepare.dataset"),
        (["prepare.dataset=.."], "prepare.dataset"),
    ],
)
def test_what_excludes_what(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(SMOKE, *overrides)


@pytest.mark.parametrize(
    "override", ["train.stepz=4", "train/scheduler=cosin", "+experiment=nope", "model=none", "a=b=c"]
)
def test_what_hydra_cannot_compose_is_a_users_error(override):
    with pytest.raises(UserError, match="cannot compose"):
        compose_config([SMOKE, override])


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("train.stepz=6", "train.stepz: unknown setting", "did you mean train.steps?"),
        (
            "train.tokens={mydog: {init: dog}}",
            "train.tokens: what train.tokens holds is added, for its keys are yours",
            "put a + in front: '+train.tokens={...}'",
        ),
        (
            "train.adapter.rank_pattern={attn2.to_k: 4}",
            "train.adapter.rank_pattern: what train.adapter.rank_pattern holds is added, for its keys are yours",
            "put a + in front: '+train.adapter.rank_pattern={...}'",
        ),
        (
            "train.optimizer.part_lrs.up_blocks=1e-4",
            "train.optimizer.part_lrs.up_blocks: what train.optimizer.part_lrs holds is added, for its keys are yours",
            "put a + in front: '+train.optimizer.part_lrs.up_blocks=VALUE'",
        ),
        ("trian.steps=6", "trian.steps: unknown setting", "did you mean train.steps?"),
        ("~train.stepz", "train.stepz: unknown setting", "did you mean train.steps?"),
        ("steps=6", "steps: unknown setting", "did you mean train.steps or train.samples.steps or evaluate.steps?"),
        (
            "train.adapter.init_form=a",
            "train.adapter.init_form: unknown setting",
            "did you mean train.adapter.init_from?",
        ),
        (
            "train.optimizer.momentum=0.9",
            "train.optimizer.momentum: unknown setting",
            "it is of train/optimizer=muon or train/optimizer=sgd; known: train.optimizer.kind, train.optimizer.lr, "
            "train.optimizer.part_lrs, train.optimizer.betas, "
            "train.optimizer.eps, train.optimizer.weight_decay",
        ),
        (
            "train.max_train_epochs=10",
            "train.max_train_epochs: unknown setting",
            "did you mean train.epochs?",
        ),
        ("learning_rate=1e-4", "learning_rate: unknown setting", "did you mean train.optimizer.lr?"),
        (
            "evaluate.likeness.path=dino",
            "evaluate.likeness.path: evaluate.likeness is null here",
            "give the section: 'evaluate.likeness={path: VALUE}'",
        ),
        (
            "train.adapter.network_dim=4",
            "train.adapter.network_dim: unknown setting",
            "did you mean train.adapter.rank?",
        ),
        ("train/schedular=cosine", "train/schedular: there is no such group", "did you mean train/scheduler?"),
        (
            "train/scheduler=cosin",
            "there is no train/scheduler=cosin",
            "did you mean cosine? train/scheduler is one of: constant, cosine, cosine_with_restarts, inverse_sqrt, "
            "linear, one_cycle, piecewise, polynomial, rex, wsd",
        ),
        ("model=other", "there is no model=other", "model is one of: sd15, sd21, sd21_v, sdxl, tiny"),
        (
            "+experiment=smokes",
            "there is no experiment=smokes",
            f"did you mean smoke? experiment is one of: {NAMED}",
        ),
        (
            "experiment=smoke",
            "experiment: not in the defaults list",
            f"put a + in front: +experiment=NAME, with NAME among {NAMED}",
        ),
    ],
)
def test_a_name_that_nobody_knows_comes_with_the_nearest(override, what, fix):
    with pytest.raises(UserError) as told:
        compose_config([override] if "experiment" in override else [SMOKE, override])
    assert told.value.what == f"cannot compose: {what}" and told.value.fix == fix


def test_a_setting_that_another_kind_has_is_not_added_with_a_plus():
    with pytest.raises(UserError) as told:
        compose_config([SMOKE, "train/adapter=oft", "train.adapter.rank_pattern={a: 4}"])
    assert told.value.fix.startswith("it is of train/adapter=dora or train/adapter=loha or train/adapter=lokr or")


def test_other_trainers_names_are_known_in_files_too():
    with pytest.raises(ConfigError, match=r"train\.network_dim: unknown setting; did you mean train\.adapter\.rank"):
        compose(SMOKE, "+train.network_dim=10")


def test_what_hydra_says_keeps_no_tabs_and_advises_nothing_wrong():
    with pytest.raises(UserError) as told:
        compose_config([SMOKE, "train.steps=1,2"])
    assert "Ambiguous value" in str(told.value) and "\t" not in str(told.value)


def test_without_an_experiment_those_that_there_are_are_named():
    with pytest.raises(UserError, match=rf"prepare\.dataset=NAME, .*; or \+experiment=NAME, .* {NAMED}"):
        compose_config([])


def test_params_are_hydras_command_line():
    params = {"experiment": "smoke", "dataset": "mine", "overrides": ["train.seed=7"]}
    assert make_overrides(params) == ["+experiment=smoke", "prepare.dataset=mine", "train.seed=7"]
    # Without a name the experiment's own dataset is taken.
    own = make_overrides({"experiment": "character_r16", "dataset": "", "overrides": []})
    assert own == ["+experiment=character_r16"] and compose(*own).prepare.dataset == "demo_character"
    with pytest.raises(UserError, match="unknown keys"):
        make_overrides({"experiments": "smoke"})


def test_no_interpolation_reaches_for_time_or_environment():
    for path in CONF.glob("**/*.yaml"):
        text = path.read_text().split("\nhydra:")[0]
        for resolver in ("${now:", "${oc.env:", "${hydra:"):
            assert resolver not in text, path


def test_what_the_stages_read_is_what_the_schema_has_checked():
    config = compose(SMOKE, "evaluate.classify=[{name: thing, labels: [cat, dog]}]", "train.adapter.alpha=4")
    written = yaml.safe_load(format_resolved(config, "smoke"))
    # With the defaults that conf/ leaves out, and numbers as the schema reads them.
    assert written["evaluate"]["classify"] == [{"name": "thing", "labels": ["cat", "dog"], "answer": None}]
    assert isinstance(written["train"]["adapter"]["alpha"], float)
    assert written["train"]["tracker"].pop("group") == "smoke"
    assert written["train"]["tracker"]["name"] is None
    assert check_whole(written) == config
    own = compose(SMOKE, "train.tracker.group=mine")
    assert yaml.safe_load(format_resolved(own, "smoke"))["train"]["tracker"]["group"] == "mine"


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_a_schedules_setting_stays_when_another_is_swapped_in(kind):
    """A sweep over the group may have cycles or power beside it: `train/scheduler=cosine,polynomial`."""
    config = compose(SMOKE, f"train/scheduler={kind}", "train.scheduler.cycles=3", "train.scheduler.power=2.0")
    found = config.train.scheduler.model_dump()
    assert {name: found[name] for name in ("kind", "cycles", "power")} == {"kind": kind, "cycles": 3, "power": 2.0}

"""The recipes for real bases: each tells its plan for 25 pictures, and each family trains by one, on reduced bases."""

import json

import pytest

from lorakiln.console.errors import UserError
from lorakiln.runs import make_dataset
from lorakiln.schema.whole_config import check_whole
from lorakiln.train import train
from pipelines import plan
from pipelines.compose import compose_config
from tests.conf.test_compose import CONF, RECIPES
from tests.small_runs import SmallRuns

# Of 25 pictures two are held out: steps, epochs and how often a picture is seen follow from 23 (without validation 25).
PLANS = {
    "sd15_character_r16": (
        "pictures    23 x 1 repeats, 2 held out",
        "steps       1,500 = 260.9 epochs of 5.75 steps; each picture is seen 260.9 times",
        "saved       6 adapters, every 250 steps and at the end",
        "adapter     lora, rank 16, alpha 16",
        "objective   mse, min_snr_gamma 5",
        "predicts    epsilon",
    ),
    "sd15_style_r4": (
        "variants    plain, flip",
        "steps       1,500 = 260.9 epochs of 5.75 steps; each picture is seen 260.9 times",
        "adapter     lora, rank 4, alpha 4",
    ),
    "sd15_pose": (
        "variants    plain, flip",
        "steps       1,200 = 208.7 epochs of 5.75 steps; each picture is seen 208.7 times",
        "adapter     lora, rank 8, alpha 8",
        "objective   mse, timestep_density cubic",
    ),
    "sd15_concept_dreambooth": (
        "pictures    25 x 1 repeats, 0 held out",
        "batch       1 = 1 device x 1 micro-batch of 1",
        "steps       500 = 20 epochs of 25 steps; each picture is seen 20 times",
        "rate        0.0001, constant, 0 warm-up steps",
    ),
    "sdxl_character_r16": (
        "batch       4 = 1 device x 4 micro-batches of 1",
        "steps       1,200 = 208.7 epochs of 5.75 steps; each picture is seen 208.7 times",
        "adapter     lora, rank 16, alpha 16",
    ),
    "sdxl_drawn_character": (
        "steps       1,200 = 208.7 epochs of 5.75 steps; each picture is seen 208.7 times",
        "objective   mse, min_snr_gamma 5, zero_terminal_snr",
        "predicts    v_prediction",
        "noise       to zero terminal SNR",
    ),
    "low_memory": (
        "batch       4 = 1 device x 4 micro-batches of 1",
        "linear layers in int8",
        "adapter     lora, rank 8, alpha 8",
    ),
}


def test_every_recipe_has_its_plan_here():
    assert PLANS.keys() == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_asks_for_pictures(recipe):
    with pytest.raises(UserError, match="no dataset is named"):
        compose_config([f"+experiment={recipe}"])


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory):
    return SmallRuns(tmp_path_factory.mktemp("recipes"))


@pytest.fixture
def given(small_runs):
    """The command line that has a recipe run here."""

    def tell(recipe):
        model = compose_config([f"+experiment={recipe}", "prepare.dataset=mine"])["model"]
        kind = {"sd": "sd15"}.get(model["family"], "sdxl_v" if model["prediction_type"] else "sdxl")
        return [f"+experiment={recipe}", *small_runs.overrides(kind)]

    return tell


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_plan_of_a_recipe_is_printed_for_25_pictures(recipe, given, capsys, tmp_path):
    plan.main(given(recipe))
    told = capsys.readouterr().out
    for line in PLANS[recipe]:
        assert line in told, told
    assert not list(tmp_path.iterdir())


def test_the_plan_of_a_word_beside_a_lora_on_a_real_base(small_runs, capsys):
    """As the header of `pivotal` says it, but for what the word begins as: a reduced base's tokenizer reads letters."""
    word = "+train.tokens.mydog={init: d, vectors: 2, lr: 1e-3, max_norm: 1.5}"
    own = ["model=sd15", "~train.tokens.kilnling", word, *small_runs.overrides("sd15"), "caption.trigger=mydog"]
    plan.main(["+experiment=pivotal", *own])
    told = capsys.readouterr().out
    assert "adapter     lora, rank 8, alpha 8" in told and "predicts    epsilon" in told
    assert "tokens      mydog (2 vectors, in 23 captions)" in told


@pytest.mark.parametrize("recipe", ["sd15_pose", "sdxl_drawn_character"])
def test_a_recipe_trains_on_a_base_of_its_family(recipe, given, tmp_path):
    short = ["train.steps=2", "train.scheduler.warmup_steps=0", "train.samples.every=0", "train.validation.draws=1"]
    config = check_whole(compose_config([*given(recipe), *short, "train.validation.every=2"]))
    train(make_dataset(config) / "encoded", tmp_path / "run", config.train, config.model, tmp_path / "checkpoints")
    facts = json.loads((tmp_path / "run/facts.json").read_text())
    assert (facts["step"], facts["rank"], facts["trigger"]) == (2, config.train.adapter.rank, "sks cat")


def test_the_weight_of_regularisation_pictures_is_refused_where_none_are(given):
    with pytest.raises(UserError, match="no picture of the dataset is one for regularisation"):
        plan.main([*given("sd15_concept_dreambooth"), "train.objective.prior_loss_weight=0.5"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_header_says_when_and_why(recipe):
    text = (CONF / f"experiment/{recipe}.yaml").read_text()
    assert "\n# When: " in text and "\n# Why these numbers" in text and "docs/recipes.md" in text

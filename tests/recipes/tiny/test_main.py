"""The whole recipe: its stages in order, and how a fresh base is tried."""

import re

from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config
from recipes.tiny import __main__ as recipe
from recipes.tiny import vae, workspace


def test_a_training_is_skipped_only_if_its_record_has_as_many_steps(workshop, monkeypatch):
    monkeypatch.setattr(workspace, "LIBRARIES", ("torch",))  # resvg is an extra
    asked = []
    monkeypatch.setattr(vae, "train", asked.append)
    for scale in (0.01, 0.01, 0.02):
        recipe.train_part("vae", scale)
    assert asked == [24, 48]


def test_each_training_has_its_steps_and_its_record():
    from recipes.tiny.install import TRAININGS

    assert set(recipe.STEPS) == set(TRAININGS) <= set(recipe.list_stages(1.0))


def test_a_fresh_base_is_tried_by_the_pipeline():
    (overrides,) = re.findall(r"^python -m train (.*)$", recipe.__doc__, re.MULTILINE)
    model = check_whole(compose_config(overrides.split())).model
    draft = workspace.ROOT / "cache" / "tiny" / "draft"
    assert [workspace.ROOT / path for path in (model.path, model.clip.path)] == [draft / "sd", draft / "clip"]

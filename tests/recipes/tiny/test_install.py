"""The card beside the installed weights."""

import re
import shutil

from recipes.tiny import card, paths


def test_the_installed_card_is_what_the_recipe_writes(tmp_path):
    shutil.copy(paths.MODELS / "metrics.json", tmp_path)
    installed = (paths.MODELS / "README.md").read_text("utf-8")
    card.write(tmp_path, float(re.search(r"holds ([\d.]+) MB", installed)[1]))
    assert (tmp_path / "README.md").read_text("utf-8") == installed

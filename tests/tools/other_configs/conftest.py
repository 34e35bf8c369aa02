"""An imported experiment, composed."""

import shutil

import pytest

from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config


@pytest.fixture
def compose_imported(tmp_path):
    """Composes what was imported as the experiment that it is written as."""
    conf = shutil.copytree("conf", tmp_path / "conf")

    def compose_it(imported, *overrides):
        (conf / "experiment/imported.yaml").write_text(imported.format_experiment(["An import."]))
        # What a dataset config or a command without pictures leaves open.
        given = (
            [] if imported.settings.get("prepare.dataset", imported.settings.get("prepare")) else ["prepare.dataset=a"]
        )
        return check_whole(compose_config(["+experiment=imported", *given, *overrides], conf))

    return compose_it

"""An output folder that somebody removes while it is made is no output."""

import shutil

import pytest

from lorakiln.artefacts.folders import replacing
from lorakiln.console.errors import UserError


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_removed_while_it_is_made(tmp_path, again):
    with replacing(tmp_path / "out") as fresh:
        (fresh / "old").touch()
    with pytest.raises(UserError, match="removed while this ran"), replacing(tmp_path / "out") as fresh:
        (fresh / "first").touch()
        shutil.rmtree(fresh)
        if again:
            fresh.mkdir()
            (fresh / "second").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

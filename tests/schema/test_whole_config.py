"""What settings of several stages mean nothing together."""

import pytest

from lorakiln.console.errors import ConfigError
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config

CROPS = ["prepare.dataset=demo_style", "encode.augment.variants=2", "encode.augment.crop=random"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([], "prepare.margin is null: nothing but the crop is kept; set prepare.margin=0.25"),
        (["encode.augment.crop=face", "prepare.margin=0.2"], "prepare.face.detector is null"),
    ],
)
def test_crops_need_room_and_faces_a_detector(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        check_whole(compose_config([*CROPS, *changes]))


def test_crops_with_room_are_taken():
    config = check_whole(compose_config([*CROPS, "prepare.margin=0.2"]))
    assert config.encode.augment.variants == 2 and config.prepare.margin == 0.2

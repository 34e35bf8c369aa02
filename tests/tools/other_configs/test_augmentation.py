"""Options of kohya's that vary pictures become variants."""

import pytest

from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.other_configs.imported import Imported
from lorakiln.tools.other_configs.sd_scripts.pictures import CONVERTERS
from pipelines.compose import compose_config


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"random_crop": True}, {"encode.augment.crop": "random", "prepare.margin": 0.0}),
        ({"color_aug": True}, {"encode.augment.hue": 16.0, "encode.augment.gamma": 0.05}),
    ],
)
def test_crops_and_colours_are_variants_that_compose(given, settings):
    imported = Imported()
    for name, value in given.items():
        CONVERTERS[name](imported, value, given)
    assert imported.settings == settings | {"encode.augment.variants": 6}
    assert len(imported.decided) == 1 and imported.left == []
    changes = [f"{name}={value}" for name, value in imported.settings.items()]
    config = check_whole(compose_config(["prepare.dataset=demo_style", *changes]))
    assert config.encode.augment.variants == 6


@pytest.mark.parametrize("value", ["2.0,4.0", "(2.0, 4.0)", [2.0, 4.0]])
def test_crops_around_faces_want_a_detector(value):
    imported = Imported()
    CONVERTERS["face_crop_aug_range"](imported, value, {})
    assert imported.settings == {"prepare.face.closest": 2.0, "prepare.face.widest": 4.0}
    assert "prepare.face.detector" in imported.left[0][2]

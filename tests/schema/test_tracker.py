"""What a run is called in the tracker."""

import pytest

from lorakiln.schema.trackers import TrackerSettings


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({}, "rank=4", ("e", "rank=4")),
        ({}, None, ("e", "e")),
        ({"group": "g"}, None, ("g", "g")),
        ({"group": "g", "name": "n"}, "rank=4", ("g", "n")),
        ({"upload_images": False}, "caption.trigger=word", ("e", "e")),
        ({"upload_images": False, "name": "n"}, "caption.trigger=word", ("e", "n")),
    ],
)
def test_what_is_left_open_is_filled_in(given, name, expected):
    shown = TrackerSettings(kind="wandb", **given).in_group("e").named(name)
    assert (shown.group, shown.name) == expected

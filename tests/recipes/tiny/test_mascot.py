"""The mascot: the same every time, another in each pose, and without a part it is another picture."""

import numpy as np
import pytest

from recipes.tiny import mascot


def test_the_mascot_is_the_same_every_time():
    one, two = (np.asarray(mascot.draw_mascot("waving", "happy", 48)) for _ in range(2))
    assert (one == two).all()
    poses = {np.asarray(mascot.draw_mascot(pose, "happy", 48)).tobytes() for pose in mascot.POSES}
    assert len(poses) == len(mascot.POSES)


@pytest.mark.parametrize("part", mascot.PARTS)
def test_a_part_left_out_changes_the_picture(part):
    whole, without = (np.asarray(mascot.draw_mascot("standing", "happy", 64, 0.0, parts)) for parts in ((), (part,)))
    assert (whole != without).any()

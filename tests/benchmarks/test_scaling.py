"""How the data stages grow: the power that is told, and all of it once with a few pictures."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import scaling
from benchmarks.scaling import DOOR, STAGES, WHAT, find_growth


def test_every_stage_is_measured_fresh_again_and_with_one_changed(run_benchmark):
    result, _ = run_benchmark("scaling", "--sizes", "4", "--processes", "1")
    found = [(record["what"], record["stage"]) for record in result["records"]]
    assert found == [(what, stage) for what in WHAT for stage in (*STAGES, DOOR)]
    assert [row[2] for row in result["rows"]] == [*WHAT, "fresh"]
    assert result["rows"][-1][0] == "growth"


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_growth_is_the_power_once_the_start_is_off(power):
    seconds = {10: 5.0, **{size: 5.0 + 0.001 * (size - 10) ** power for size in (100, 1000)}}
    assert find_growth(seconds) == pytest.approx(power)


def test_growth_needs_two_sizes_above_the_smallest_and_times_above_its():
    assert find_growth({10: 5.0, 100: 6.0}) is None
    assert find_growth({10: 5.0, 100: 4.9, 1000: 7.0}) is None


def test_a_changed_picture_is_like_none_that_is_there(tmp_path):
    from benchmarks.pictures import write_pictures

    folder = tmp_path / "raw" / "many"
    write_pictures("small", range(5), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    scaling.change_picture(folder, 3)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["000002.png"]
    assert after["000002.png"] not in before.values()
    assert np.asarray(Image.open(folder / "000002.png")).std() > 0

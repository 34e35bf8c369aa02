"""Rate and time left, as logs show them."""

import pytest

from lorakiln.console import progress
from lorakiln.console.progress import PlainLines, format_duration, format_rate


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_batches_of_eight_pictures_in_forty_seconds(clock, capsys):
    lines = PlainLines("drawing", 80, "pictures")
    for _ in range(10):
        clock.now += 40
        lines.advance(8)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "drawing: 8/80 pictures, 5.0 s each, 6 min left"
    assert said[8] == "drawing: 72/80 pictures, 5.0 s each, 40 s left"
    assert said[9] == "drawing: 80/80 pictures, 5.0 s each, 0 s left" and len(said) == 10


def test_a_line_comes_at_most_every_fifteen_seconds(clock, capsys):
    lines = PlainLines("prepare", 100, "pictures")
    for _ in range(100):
        clock.now += 0.5
        lines.advance(note="x.png")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "prepare: 30/100 pictures, 2.0/s, 35 s left  x.png" and len(said) == 4


@pytest.mark.parametrize(
    ("rate", "said"), [(123.4, "123.4/s"), (1.0, "1.0/s"), (0.5, "2.0 s each"), (0.004, "250.0 s each")]
)
def test_slow_rates_are_told_in_seconds_each(rate, said):
    assert format_rate(rate) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (5900, "98 min"), (12240, "3.4 h")]
)
def test_the_unit_of_a_time_is_one_to_wait_in(seconds, said):
    assert format_duration(seconds) == said

import io

from lorakiln.console.sparkline import BLOCKS, PLAIN, format_sparkline


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def test_a_terminal_gets_blocks_and_a_log_plain_characters():
    values = [number / 7 for number in range(8)]
    assert format_sparkline(values, Terminal(io.BytesIO(), encoding="utf-8")) == BLOCKS
    assert format_sparkline(values, Terminal(io.BytesIO(), encoding="latin-1")) == PLAIN
    assert format_sparkline(values, io.StringIO()) == PLAIN and PLAIN.isascii()


def test_the_greatest_is_the_highest():
    assert format_sparkline([0, 1e-5, 2e-5], io.StringIO()) == PLAIN[0] + PLAIN[4] + PLAIN[7]
    assert format_sparkline([0.0, 0.0], io.StringIO()) == PLAIN[0] * 2

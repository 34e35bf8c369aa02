"""Three files compared, and the questions about them."""

import pytest

from lorakiln.cli.compare import compose, run_comparison, split_arguments
from lorakiln.compare.blind.answers import Answers
from lorakiln.compare.blind.questions import list_questions
from lorakiln.compare.blind.server import Blind


@pytest.fixture(scope="session")
def compared(files, settings, tmp_path_factory):
    """What is found of files a, b and c, and the folder."""
    given, overrides = split_arguments([*(str(files / f"{letter}.safetensors") for letter in "abc"), *settings])
    out = tmp_path_factory.mktemp("blind") / "comparison"
    return run_comparison(given, compose(overrides), out), out


@pytest.fixture
def make_blind(compared, tmp_path):
    """The site of the first so many questions, with the answers of `tmp_path`."""
    found, out = compared

    def make(most=100, done=lambda lines: None):
        answers = Answers(list_questions(found.plan, most), tmp_path / "answers.json")
        return Blind(answers, found.measured.assessed, out / "samples", done)

    return make

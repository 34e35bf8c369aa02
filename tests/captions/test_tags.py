"""Tags as captions spell them."""

import pytest

from lorakiln.captions.tags import spell_tag


@pytest.mark.parametrize(
    ("tag", "spelled"),
    [
        ("long_hair", "long hair"),
        ("saber_(fate)", "saber (fate)"),
        ("a__b", "a b"),
        *((face, face) for face in ("^_^", "o_o", "._.", "(o)_(o)", "<|>_<|>", "<o>_<o>", "||_||")),
        ("(a)_(b)", "(a) (b)"),
        ("ab_ab", "ab ab"),
    ],
)
def test_underscores_are_spaces_but_for_faces(tag, spelled):
    assert spell_tag(tag) == spelled

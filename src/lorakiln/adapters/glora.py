"""GLoRA (LyCORIS): recognised, and refused with the reason."""

from collections.abc import Mapping

from lorakiln.adapters.protocol import Endings, Form, Refused

TITLE = "GLoRA (LyCORIS)"
FULL_RANK, RELATIVE = False, False
ENDINGS: Mapping[Form, Endings] = {}
REFUSED = (
    Refused(
        ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
        TITLE,
        "several versions of the programs meant different things by this name",
    ),
)

"""T-LoRA (LyCORIS): recognised, and refused with the reason."""

from collections.abc import Mapping

from lorakiln.adapters.protocol import Endings, Form, Refused

TITLE = "T-LoRA (LyCORIS)"
FULL_RANK, RELATIVE = False, False
ENDINGS: Mapping[Form, Endings] = {}
REFUSED = (Refused(("lambda_layer",), TITLE, "it changes the weights by another rank at every timestep"),)

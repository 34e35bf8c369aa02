"""T-LoRA (LyCORIS): recognised, and refused with the reason."""

from lorakiln.adapters.protocol import Refused

TITLE = "T-LoRA (LyCORIS)"
FULL_RANK, RELATIVE = False, False
ENDINGS = {}
REFUSED = (Refused(("lambda_layer",), TITLE, "it changes the weights by another rank at every timestep"),)

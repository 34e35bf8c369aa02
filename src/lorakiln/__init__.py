"""LoRAKiln: from a folder of pictures to a LoRA adapter, and an honest report of how good it is."""

import os
import sys

# OpenMP threads that spin while they wait make a step on a busy machine 50 times slower, and the policy is read
# when torch is loaded: so it is set before anything imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Where bitsandbytes is installed, diffusers and peft load it, and with it torch's compiler: seconds of every start.
# What needs it says so: `libraries.import_bitsandbytes`. Those that are loaded already have seen that it is there.
if not {"diffusers", "peft", "transformers"} & sys.modules.keys():
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type] # how Python spells "not to be found"

__version__ = "0.1.0"

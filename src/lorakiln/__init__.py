"""LoRAKiln: from a folder of pictures to a LoRA adapter, and an honest report of how good it is."""

import os

# OpenMP threads that spin while they wait make a step on a busy machine 50 times slower, and the policy is read
# when torch is loaded: so it is set before anything imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

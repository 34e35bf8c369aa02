"""In which precision the frozen base is kept."""

import torch


def takes_bf16(wanted: str, device: torch.device) -> bool:
    """Whether the frozen base is bf16 on a device: one rule for one device and for several.

    Args:
        wanted: "auto" takes bf16 on a GPU that computes in it; "bf16" on a CPU too, where it halves the base's memory.
    """
    if device.type == "cuda":
        return wanted != "fp32" and torch.cuda.is_bf16_supported(including_emulation=False)
    return wanted == "bf16"

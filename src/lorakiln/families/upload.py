"""From the CPU's memory to a device without making the host wait."""

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor's copy on a device; itself where it is there already.

    CUDA copies from pinned memory while the host goes on. What is in pageable memory it has to stage, for which it may
    wait until the stream has done all before it, whatever `non_blocking` says (CUDA's "API synchronization behavior";
    torch's "A guide on good usage of non_blocking and pin_memory()"). Torch keeps pinned memory until it is copied.
    """
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

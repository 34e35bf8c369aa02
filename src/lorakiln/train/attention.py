"""Which of torch's kernels computes the attention of the network (torch.nn.attention.SDPBackend)."""

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lorakiln.console.errors import UserError
from lorakiln.families.protocol import NETWORK, Family

KERNELS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
CELLS, TOKENS = 64, 77  # of a picture and of a prompt, in the trial


def attending(name: str) -> AbstractContextManager[None]:
    """With this kernel alone, forwards and backwards; "auto": torch's own choice."""
    if name == "auto":
        return nullcontext()
    kernel: AbstractContextManager[None] = sdpa_kernel(KERNELS[name])
    return kernel


def check_attention(name: str, family: Family, dtype: torch.dtype) -> None:
    """Refuse, before anything is loaded, a kernel that cannot do what this network asks for on this device.

    Args:
        family: may be without its parts.
        dtype: in which the network computes.

    Raises:
        UserError: it cannot.
    """
    if name == "auto":
        return
    sizes = list_head_sizes(family.hollow(NETWORK).network)
    if wrong := [size for size in sizes if not _attends(name, size, family.device, dtype)]:
        others = [one for one in KERNELS if all(_attends(one, size, family.device, dtype) for size in sizes)]
        raise UserError(
            f"torch {torch.__version__} has no such kernel for {family.device}, {str(dtype).removeprefix('torch.')} "
            f"and heads of {', '.join(map(str, wrong))}",
            where=f"train.trainer.attention={name}",
            fix=f"auto chooses by itself; here these work: {', '.join(others)}",
        )


def list_head_sizes(network: nn.Module) -> list[int]:
    """The channels of a head, of all attentions of the network (diffusers' `Attention`), sorted."""
    found = set()
    for module in network.modules():
        heads, query = getattr(module, "heads", None), getattr(module, "to_q", None)
        if isinstance(heads, int) and isinstance(query, nn.Linear):
            found.add(query.out_features // heads)
    return sorted(found)


def _attends(name: str, size: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether it computes a picture's attention to itself and to a prompt, and the gradients."""
    query = torch.zeros(1, 2, CELLS, size, device=device, dtype=dtype, requires_grad=True)
    prompt = torch.zeros(1, 2, TOKENS, size, device=device, dtype=dtype)
    try:
        with attending(name), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each reason why it does not fit
            for key in (query, prompt):
                F.scaled_dot_product_attention(query, key, key).float().sum().backward()
    except RuntimeError:
        return False
    return True

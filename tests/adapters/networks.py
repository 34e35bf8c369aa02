"""A network that carries a LoRA, as a model's UNet."""

from lorakiln.adapters.networks import AdaptedNetworks
from lorakiln.adapters.protocol import find_trained_kind


def adapted(network):
    return AdaptedNetworks(find_trained_kind("lora"), {"unet": network}, "unet")

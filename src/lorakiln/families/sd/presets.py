"""Which modules of a Stable Diffusion's UNet, and of its text encoders, a preset adapts."""

from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn

from lorakiln.families.sd.target_names import ATTENTION
from lorakiln.families.shapes import has_kernel


def list_attention_modules(network: nn.Module) -> list[str]:
    """Names, sorted, of the attentions' projections: 128 in Stable Diffusion 1.5."""
    return sorted(name for name, _ in network.named_modules() if name.endswith(ATTENTION))


def list_kohya_modules(network: nn.Module) -> list[str]:
    """Names, sorted, of what kohya adapts: linear layers and 1x1 convolutions in transformers, 192 in 1.5."""
    return sorted(
        f"{outer}.{inner}"
        for outer, block in network.named_modules()
        if isinstance(block, Transformer2DModel)
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not has_kernel(module.weight.shape)
    )


def list_locon_modules(network: nn.Module) -> list[str]:
    """kohya's modules and, as with its conv_dim, all linear layers and convolutions of the residual blocks."""
    blocks = (ResnetBlock2D, Downsample2D, Upsample2D)
    residual = {
        f"{outer}.{inner}"
        for outer, block in network.named_modules()
        if isinstance(block, blocks)
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    return sorted({*list_kohya_modules(network), *residual})


PRESETS = {"attention": list_attention_modules, "kohya": list_kohya_modules, "locon": list_locon_modules}


TEXT_ATTENTION = tuple(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj"))
TEXT_KOHYA = (*TEXT_ATTENTION, "mlp.fc1", "mlp.fc2")


def list_text_attention_modules(encoder: nn.Module) -> list[str]:
    """Names, sorted, of the projections of a CLIP text encoder's attentions: 48 in Stable Diffusion 1.5, which is what
    diffusers' scripts adapt."""
    return sorted(name for name, _ in encoder.named_modules() if name.endswith(TEXT_ATTENTION))


def list_text_kohya_modules(encoder: nn.Module) -> list[str]:
    """Names, sorted, of what sd-scripts adapts: those and both layers of every MLP, 72 in 1.5."""
    return sorted(name for name, _ in encoder.named_modules() if name.endswith(TEXT_KOHYA))


TEXT_PRESETS = {"attention": list_text_attention_modules, "kohya": list_text_kohya_modules}

"""The blocks of diffusers' UNets and VAEs with fewer operations and fewer passes over memory.

What is the same number is left out: divisions by 1, copies into another memory format and back. A 1x1 convolution of
pixels in channels_last is a linear layer's product. Where no gradient is taken, results that nothing else keeps are
written over. The nearest neighbour's upsampling and the convolution after it are one transposed convolution, which
multiplies 16 times for four pixels instead of 36 times.

All but the last gives diffusers' own bits. Blocks with settings that Stable Diffusion has not stay diffusers'.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from lorakiln.families.sd.convolutions import (
    choose_format,
    convolve,
    is_plain,
    is_single,
    project,
)


@contextmanager
def replacing_blocks(*networks: nn.Module) -> Iterator[None]:
    """Inside, the networks' blocks compute as they do here; names and weights stay, and the weights may not change.

    Blocks that do so already are left as they are, afterwards too: a training draws in between.
    """
    replaced = {
        module: REPLACED[type(module)][0]
        for network in networks
        for module in network.modules()
        if type(module) in REPLACED and REPLACED[type(module)][1](module)
    }
    before = {module: type(module) for module in replaced}
    try:
        for module, own in replaced.items():
            module.__class__ = own
        yield
    finally:
        for module, theirs in before.items():
            module.__dict__.pop("_kernels", None)
            module.__class__ = theirs


class Resnet(ResnetBlock2D):
    """Two convolutions with the time between them, and the input added."""

    def forward(self, input_tensor: Tensor, temb: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        fresh = not torch.is_grad_enabled()
        states = convolve(self.conv1, F.silu(self.norm1(input_tensor), inplace=fresh))
        if self.time_emb_proj is not None:  # a VAE knows no time
            states = add(states, self.time_emb_proj(F.silu(temb))[:, :, None, None])
        states = convolve(self.conv2, self.dropout(F.silu(self.norm2(states), inplace=fresh)))
        return add(states, input_tensor if self.conv_shortcut is None else project(self.conv_shortcut, input_tensor))


class Transformer(Transformer2DModel):
    """Transformer blocks over a picture's cells, and the input added."""

    def forward(  # type: ignore[override] # what else diffusers' takes is passed on to it
        self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **given: Any
    ) -> Any:
        recomputes = self.gradient_checkpointing and torch.is_grad_enabled()
        if given.pop("return_dict", True) or any_given(given) or recomputes:
            return super().forward(hidden_states, encoder_hidden_states, **given)
        batch, _, height, width = hidden_states.shape
        cells = (0, 2, 3, 1)
        states = self.norm(hidden_states)
        if self.use_linear_projection:
            states = self.proj_in(states.permute(cells).flatten(1, 2))
        else:
            states = project(self.proj_in, states).permute(cells).flatten(1, 2)
        for block in self.transformer_blocks:
            states = block(states, encoder_hidden_states=encoder_hidden_states)
        if self.use_linear_projection:
            states = self.proj_out(states)
        states = states.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        states = states.contiguous(memory_format=choose_format(hidden_states))
        if not self.use_linear_projection:
            states = project(self.proj_out, states)
        return (add(states, hidden_states),)


class Block(BasicTransformerBlock):
    """Attention of the cells to each other, to the text, and a feed-forward, each added to what came in."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        **given: Any,
    ) -> Tensor:
        if attention_mask is not None or any_given(given) or any(one is not None for one in args):
            return super().forward(hidden_states, attention_mask, encoder_hidden_states, *args, **given)
        states = add(self.attn1(self.norm1(hidden_states)), hidden_states)
        states = add(self.attn2(self.norm2(states), encoder_hidden_states=encoder_hidden_states), states)
        return add(self.ff(self.norm3(states)), states)


class Attend(Attention):
    """Scaled dot-product attention without masks."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **given: Any,
    ) -> Tensor:
        processor: Any = self.processor  # diffusers' types name the first of its kinds alone
        if given or attention_mask is not None or type(processor) is not AttnProcessor2_0:
            return super().forward(hidden_states, encoder_hidden_states, attention_mask, **given)
        told = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for states in (self.to_q(hidden_states), self.to_k(told), self.to_v(told))
        )
        states = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        found: Tensor = self.to_out[1](self.to_out[0](states))
        return found


class Upsample(Upsample2D):
    """Twice as many pixels each way, and a convolution.

    With y_{2m} = w_0 x_{m-1} + (w_1 + w_2) x_m and y_{2m+1} = (w_0 + w_1) x_m + w_2 x_{m+1} along each side, what the
    convolution makes of pixels that stand twice is a transposed convolution of stride 2 with the kernel
    (w_2, w_1 + w_2, w_0 + w_1, w_0). In single precision alone: half precision has no room for the sums.
    """

    # Made once inside `replacing_blocks`, for each memory format: outside a LoRA may be merged into the weight.
    _kernels: dict[torch.memory_format, Tensor]

    def forward(self, hidden_states: Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        twice = [2 * side for side in hidden_states.shape[-2:]]
        if (output_size is not None and list(output_size) != twice) or not self._joins(hidden_states):
            return super().forward(hidden_states, output_size)
        conv: Any = self.conv
        form, kernels = choose_format(hidden_states), self.__dict__.setdefault("_kernels", {})
        if form not in kernels:
            kernels[form] = join_kernel(conv.weight.detach()).contiguous(memory_format=form)
        return F.conv_transpose2d(hidden_states, kernels[form], conv.bias, stride=2, padding=1)

    def _joins(self, states: Tensor) -> bool:
        """Whether an adapter, another precision or autocast leave the convolution as it is."""
        conv: Any = self.conv
        return is_plain(conv) and is_single(conv, states)


def join_kernel(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution, (in, out, 4, 4), that does what nearest-neighbour upsampling and a
    convolution with `weight`, (out, in, 3, 3), do.
    """
    wide = F.pad(weight.flip(2, 3), (1, 1, 1, 1))
    rows = wide[:, :, 1:] + wide[:, :, :-1]
    return (rows[..., 1:] + rows[..., :-1]).transpose(0, 1)


def any_given(given: Mapping[str, Any]) -> bool:
    """Whether a call says more than which states; diffusers passes on what nobody has asked for as None or {}."""
    return any(one is not None and not (isinstance(one, dict) and not one) for one in given.values())


def add(fresh: Tensor, other: Tensor) -> Tensor:
    """Their sum; without gradients in the place of `fresh`, which nothing else keeps, where that has the sum's type and
    rows.
    """
    if torch.is_grad_enabled() or fresh.dtype != other.dtype or len(fresh) != len(other):
        return fresh + other
    return fresh.add_(other)


def _suits_resnet(block: Any) -> bool:
    return bool(
        block.upsample is None
        and block.downsample is None
        # "group": a VAE decoder's, which knows no time.
        and block.time_embedding_norm in (["default"] if block.time_emb_proj else ["default", "group"])
        and not block.skip_time_act
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _suits_transformer(block: Any) -> bool:
    return bool(block.is_input_continuous)


def _suits_block(block: Any) -> bool:
    return bool(
        block.norm_type == "layer_norm"
        and block.pos_embed is None
        and block.attn2 is not None
        and not block.only_cross_attention
        and block._chunk_size is None
        and not hasattr(block, "fuser")
    )


def _suits_attention(block: Any) -> bool:
    others = ("spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k", "residual_connection")
    return not any(getattr(block, name) for name in others) and block.rescale_output_factor == 1


def _suits_upsample(block: Any) -> bool:
    return bool(
        block.use_conv
        and block.name == "conv"
        and not block.use_conv_transpose
        and block.norm is None
        and block.interpolate
        and type(block.conv) is nn.Conv2d  # no adapter's
        and block.conv.kernel_size == (3, 3)
        and block.conv.padding == (1, 1)
    )


REPLACED: dict[type, tuple[Any, Any]] = {
    ResnetBlock2D: (Resnet, _suits_resnet),
    Transformer2DModel: (Transformer, _suits_transformer),
    BasicTransformerBlock: (Block, _suits_block),
    Attention: (Attend, _suits_attention),
    Upsample2D: (Upsample, _suits_upsample),
}

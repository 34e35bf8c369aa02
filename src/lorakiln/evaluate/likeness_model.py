"""What likeness is measured by where CLIP is not asked: the vision model of `evaluate.likeness`.

CLIP was trained on what pictures are called, so that two dogs of a kind are one to it; DINOv2 (arXiv 2304.07193) was
trained on pictures alone and tells individuals apart, which is why DreamBooth measures by both (arXiv 2208.12242).
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from lorakiln.console.errors import UserError
from lorakiln.evaluate.picture_model import PictureModel, explaining_unloadable
from lorakiln.schema.model import Source

FIX = (
    "name a hub id or a folder that holds a DINOv2, SigLIP or CLIP of transformers in safetensors, such as "
    "facebook/dinov2-base or google/siglip2-base-patch16-224"
)


class LikenessModel(PictureModel):
    """DINOv2 (with registers or without), SigLIP, CLIP, or another vision transformer with one embedding a picture.

    Args:
        network: a vision tower of transformers, whose output has `pooler_output` and hidden states.
        before: tokens that come before the patches: the class token and registers.
    """

    def __init__(self, title: str, network: Any, processor: Any, device: torch.device, before: int) -> None:
        super().__init__(title, network, processor, device)
        self._before = before

    @classmethod
    def load(cls, source: Source, device: torch.device) -> "LikenessModel":
        """Load in float32. Of a model of pictures and texts the vision tower is kept.

        Raises:
            UserError: the folder or hub id holds no such model in safetensors, or one whose pictures are processed by
                torchvision alone.
        """
        with explaining_unloadable(source, "the likeness model", "evaluate.likeness", FIX) as where:
            config = AutoConfig.from_pretrained(**where)
            processor = AutoImageProcessor.from_pretrained(**where, backend="pil")
            network = AutoModel.from_pretrained(**where, use_safetensors=True, dtype=torch.float32).eval()
        tower = getattr(network, "vision_model", network)
        vision = getattr(config, "vision_config", config)
        with torch.inference_mode():
            before = _count_before(tower, vision)
        tower.to(device)
        return cls(f"the likeness model {source.path}", tower, processor, device, before)

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model(pixel_values=pixels).pooler_output
        return features

    def _embed_layers(self, pixels: torch.Tensor) -> tuple[Sequence[torch.Tensor], int]:
        return self.model(pixel_values=pixels, output_hidden_states=True).hidden_states, self._before


def _count_before(tower: Any, config: Any) -> int:
    """How many tokens a blank picture has beyond its patches.

    Raises:
        UserError: the model has no embedding of a whole picture, or no patches.
    """
    side = getattr(config, "image_size", None)
    patch = getattr(config, "patch_size", None)
    if isinstance(side, int) and isinstance(patch, int) and side >= patch > 0:
        found = tower(pixel_values=torch.zeros(1, 3, side, side), output_hidden_states=True)
        before = found.hidden_states[0].shape[1] - (side // patch) ** 2
        if getattr(found, "pooler_output", None) is not None and before >= 0:
            return int(before)
    raise UserError(
        f"a {getattr(config, 'model_type', 'model')} gives no embedding of a picture with patches",
        where="evaluate.likeness",
        fix=FIX,
    )

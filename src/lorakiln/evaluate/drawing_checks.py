"""What a base model can draw, by its configs: asked before anything is loaded that draws or looks at pictures."""

from lorakiln.families import load_family
from lorakiln.families.protocol import Family
from lorakiln.sampling import check_steps
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings


def check_drawing(settings: EvaluateSettings, model: ModelSettings) -> Family:
    """The model, without its parts, if it can draw what the settings ask for: known before anything is trained.

    Raises:
        UserError: more steps than its noise schedule has, or a size that it cannot draw.
    """
    family = load_family(model, parts=())
    check_steps(family, settings.steps, "evaluate.steps")
    family.latent_shape(settings.width or model.resolution, settings.height or model.resolution)
    return family

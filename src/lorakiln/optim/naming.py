"""What a file's metadata calls an optimizer."""

from lorakiln.schema.optimizers import OptimizerSettings


def format_class(name: str, settings: OptimizerSettings) -> str:
    """A class and its arguments, without the learning rates, as sd-scripts spells it:
    "torch.optim.AdamW(betas=[0.9, 0.999],eps=1e-08)".
    """
    arguments = settings.model_dump(mode="json", exclude=set(OptimizerSettings.model_fields))
    return f"{name}({','.join(f'{key}={value}' for key, value in arguments.items())})"

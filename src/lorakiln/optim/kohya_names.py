"""What a file's metadata calls an optimizer."""

from lorakiln.schema.optimizers import OptimizerSettings


def format_class(name: str, settings: OptimizerSettings, /, **more: object) -> str:
    """A class and its arguments, without the learning rates, as sd-scripts spells it:
    "torch.optim.AdamW(betas=[0.9, 0.999],eps=1e-08)". Given to the class that is named they train the same, whoever
    has written the code that did; what is None is left to the class.

    Args:
        more: arguments of the class that are no settings here, or another value of one that is; None: leave it out.
    """
    settled = settings.model_dump(mode="json", exclude=set(OptimizerSettings.model_fields))
    arguments = {key: value for key, value in {**settled, **more}.items() if value is not None}
    return f"{name}({','.join(f'{key}={value}' for key, value in arguments.items())})"

"""The error about a loss or a gradient that is NaN or infinite."""

from lorakiln.console.errors import UserError
from lorakiln.train.checkpoint import CheckpointFolder
from lorakiln.train.lora_module import LoraModule


def make_not_finite_error(module: LoraModule, step: int, checkpoints: CheckpointFolder) -> UserError:
    """It names the step (from 0), the bucket, the pictures of the batch, and the checkpoint from before it."""
    bucket, files = module.batch_files(step)
    broken, kept = module.broken_files(step), checkpoints.files()
    after = f"; the last good checkpoint, {kept[-1]}, is kept" if kept else ""
    if broken:
        fix = f"the encoded {', '.join(broken)} is not finite: look at the picture, then run `encode` again"
    else:
        fix = "; or ".join(_advice(module))
    return UserError(
        f"the loss or a gradient was not finite at step {step + 1}, bucket {bucket}, pictures "
        f"{', '.join(dict.fromkeys(files))}; nothing was changed from that step on{after}",
        fix=fix,
    )


def _advice(module: LoraModule) -> list[str]:
    """What is not so already."""
    settings, norm = module.settings, module.settings.max_grad_norm
    return [
        f"lower train.optimizer.lr, which is {settings.optimizer.lr:g}",
        "set train.max_grad_norm=1.0" if norm is None else f"lower train.max_grad_norm, which is {norm:g}",
        *(["train with train.trainer.precision=fp32"] if module.share.bf16 else []),
    ]

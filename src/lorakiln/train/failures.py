"""What may end a training, told in the user's words."""

import signal
import subprocess
import time
from collections.abc import Sequence

import torch.distributed as dist

from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.memory import is_out_of_memory
from lorakiln.train.assembly import TrainingRun
from lorakiln.train.checkpoint import CheckpointFolder
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.precision import choose_half

NOTICE = 2.0  # seconds within which a process that ended is seen to have


def explain_failure(error: Exception, run: TrainingRun, others: Sequence[subprocess.Popen]) -> Exception:
    """The error that the user is to see: a UserError where the cause is known, else the same.

    Args:
        others: the processes that this one started.
    """
    if is_out_of_memory(error):
        return _make_out_of_memory_error(run)
    if run.share.world > 1 and _is_of_a_peer(error):
        return make_lost_process_error(others)
    return error


def make_lost_process_error(others: Sequence[subprocess.Popen]) -> UserError:
    """The error about a process of several that ended."""
    end = time.monotonic() + NOTICE
    while (
        not (ended := [(n, status) for n, p in enumerate(others, 1) if (status := p.poll())]) and time.monotonic() < end
    ):
        time.sleep(0.05)
    causes = ", ".join(f"process {number} {_describe_exit(status)}" for number, status in ended)
    return UserError(
        f"another process of this training has ended{': ' + causes if causes else ''}",
        fix="see its own message above; if there is none, it was out of memory most likely. The same command goes on "
        "from the last checkpoint",
    )


def _describe_exit(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _is_of_a_peer(error: Exception) -> bool:
    # gloo has no class of its own for a connection that broke.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _make_out_of_memory_error(run: TrainingRun) -> UserError:
    settings = run.settings
    share = max(run.split.list_batches(settings.batch_size)) // run.share.world
    micro = settings.micro_batch or share
    advice = [f"train.micro_batch={max(1, micro // 2)}"] if micro > 1 else []
    advice += [] if settings.trainer.gradient_checkpointing else ["train.trainer.gradient_checkpointing=true"]
    # On a GPU auto has taken it already.
    advice += [] if run.share.half else [f"train.trainer.precision={choose_half(run.device)}"]
    advice += ["train.trainer.quantize=int8"] if settings.trainer.quantize == "none" else []
    advice += ["a lower prepare.resolution"]
    largest = max(run.encoded.buckets, key=lambda bucket: bucket.mean[0, 0].numel()).name
    return UserError(
        f"{run.device} is out of memory, with {format_count(micro, 'picture')} at once, of {largest} pixels at most",
        fix=f"set {', or '.join(advice)}; the last checkpoint is kept",
    )


def make_not_finite_error(module: LoraModule, step: int, checkpoints: CheckpointFolder) -> UserError:
    """It names the step (from 0), the bucket, the pictures of the batch, and the checkpoint from before it."""
    bucket, files = module.batch_files(step)
    broken, kept = module.broken_files(step), checkpoints.files()
    after = f"; the last good checkpoint, {kept[-1]}, is kept" if kept else ""
    if broken:
        fix = f"the encoded {', '.join(broken)} is not finite: look at the picture, then run `encode` again"
    else:
        fix = "; or ".join(_advise_on_rates(module))
    return UserError(
        f"the loss or a gradient was not finite at step {step + 1}, bucket {bucket}, pictures "
        f"{', '.join(dict.fromkeys(files))}; nothing was changed from that step on{after}",
        fix=fix,
    )


def _advise_on_rates(module: LoraModule) -> list[str]:
    """What is not so already."""
    settings, norm = module.settings, module.settings.max_grad_norm
    return [
        f"lower train.optimizer.lr, which is {settings.optimizer.lr:g}",
        "set train.max_grad_norm=1.0" if norm is None else f"lower train.max_grad_norm, which is {norm:g}",
        *(["train with train.trainer.precision=fp32"] if module.share.half else []),
    ]

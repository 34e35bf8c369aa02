"""What Lightning calls after each step, so that all processes of a training end after the same one."""

import torch
import torch.distributed as dist

from lorakiln.train.devices import PATIENCE
from lorakiln.train.heartbeat import Heartbeat, end_without, share_store
from lorakiln.train.lightning import pl
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.stop_request import StopRequest


class StopTogether(pl.Callback):
    """Heeds signals, and the other processes: where one of them is asked to end, all end after the same step.

    Comes before the callback that acts on it. From the first step on a signal is noted; before, where there is nothing
    to be saved, it ends the process at once.

    Attributes:
        ending: whether a signal had come by the end of this step; the same in all processes.
    """

    def __init__(self) -> None:
        self.ending = False
        self._request = StopRequest()
        self._group: dist.ProcessGroup | None = None
        self._heartbeat: Heartbeat | None = None

    @property
    def signal(self) -> int:
        """The number of the signal that came, or 0."""
        return self._request.signal

    @property
    def alone(self) -> bool:
        """Whether there are no other processes."""
        return self._group is None

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, LoraModule)
        if module.share.world == 1:
            return
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(trainer.strategy, pl.strategies.ParallelStrategy)  # there are several processes
        cluster = trainer.strategy.cluster_environment
        assert cluster is not None  # Lightning has chosen one
        if cluster.creates_processes_externally:
            store = share_store(module.share.rank, cluster.main_address, self._group)
            self._heartbeat = Heartbeat(store, module.share.rank, module.share.world, end_without)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._request.install()

    def agree(self, ended: bool) -> bool:
        """Whether any of the processes says that the training has ended; each of them asks at the same step."""
        if self._group is None:
            return ended
        flag = torch.tensor(int(ended))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flag)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        # A signal reaches the processes at different steps, or only one of them: they agree in every step.
        if self._group is not None:
            flag = torch.tensor(self._request.signal)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
            self._request.signal = int(flag)
        self.ending = bool(self._request.signal)

    def end(self) -> None:
        """Training is over, for whatever reason: signals and the other processes are no more heeded."""
        self._request.remove()
        if self._heartbeat:
            self._heartbeat.end()

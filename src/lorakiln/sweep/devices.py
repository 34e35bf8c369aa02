"""Which GPUs a machine has, and who holds which: never two jobs on one by accident."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import lock_descriptor

from lorakiln.console.errors import UserError
from lorakiln.sweep.stopping import Stop

WAIT = 0.5  # seconds between two looks for a free GPU


def list_visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a CPU machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return list(map_gpus_by_index().values())


def map_gpus_by_index() -> dict[str, str]:
    """The driver's GPUs, their UUIDs by number; empty without a driver.

    Asked of the driver's own tool, so that the process that only starts jobs holds no GPU memory.
    """
    if not shutil.which("nvidia-smi"):
        return {}
    asked = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    rows = [line.split(",") for line in told.stdout.splitlines() if line.count(",") == 1]
    return {index.strip(): uuid.strip() for index, uuid in rows} if told.returncode == 0 else {}


class Claims:
    """Locks on GPUs, one file each, which other sweeps on this machine see too; a dead process's are freed.

    Args:
        gpus: as `list_visible_gpus` names them.
        folder: of the lock files; shared by everyone on the machine.
    """

    def __init__(self, gpus: Sequence[str], folder: Path | None = None) -> None:
        self.gpus = list(gpus)
        # One sweep may name a GPU by its number, another by its UUID.
        self._uuids = map_gpus_by_index() if self.gpus else {}
        self.folder = folder or Path(tempfile.gettempdir()) / "lorakiln-gpus"

    @contextmanager
    def claim(self, count: int, stop: Stop) -> Iterator[tuple[dict[str, str], list[int]] | None]:
        """Hold `count` GPUs, waiting until so many are free; none where the machine has none.

        Yields:
            The job's environment, and the locks' file numbers for it to inherit; None after a stop.

        Raises:
            UserError: the machine shows fewer.
        """
        if not self.gpus:
            yield {}, []
            return
        if count > len(self.gpus):
            raise UserError(
                f"it wants {count} GPUs, this machine shows {len(self.gpus)}",
                where="train.trainer.devices",
                fix="ask for fewer",
            )
        while not stop.asked:
            with ExitStack() as stack:
                locks = self._free(count, stack)
                if len(locks) == count:
                    yield {"CUDA_VISIBLE_DEVICES": ",".join(locks)}, list(locks.values())
                    return
            stop.wait(WAIT)
        yield None

    def _free(self, count: int, stack: ExitStack) -> dict[str, int]:
        """Locks on up to `count` GPUs, by name; all or none of them are kept by the caller."""
        locks: dict[str, int] = {}
        for gpu in self.gpus:
            if len(locks) == count:
                break
            handle = self._open(gpu)
            stack.callback(os.close, handle)
            # By the file's number, which the job inherits: its process holds the lock too, and frees it by its end.
            if lock_descriptor(handle, blocking=False):
                locks[gpu] = handle
        return locks

    def _open(self, gpu: str) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / self._uuids.get(gpu, gpu).replace("/", "_")
        if not path.exists():
            path.touch()
            # Another user's sweep holds the same lock, for which reading is enough.
            path.chmod(0o644)
            if self.folder.stat().st_uid == os.getuid():
                self.folder.chmod(0o777)
        return os.open(path, os.O_RDONLY)

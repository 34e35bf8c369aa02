"""An interpreter that has imported the libraries: what it is asked to run, it runs in a fork of itself.

Half of what the commands cost in tests is importing torch, diffusers, lightning and transformers anew. Of the project
itself nothing is imported here: a fork takes that from the checkout in which the command was given, as Python does.
It has the command's arguments, folder, environment and open files, and ends as any interpreter. Its hash seed, and
what libraries read of the environment when they are imported, are this process's.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading

LIBRARIES = (
    # First, for it looks through all modules that there are, again and again.
    "wandb.sdk.launch",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "dvc.cli.parser",
    "dvc.repo.reproduce",
    "filelock",
    "hydra.experimental",
    "hydra.main",
    "jinja2",
    "lightning.pytorch",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "optuna",
    "peft",
    "peft.tuners.lora.bnb",
    "PIL.ImageOps",
    "pydantic",
    "rich.console",
    "safetensors.torch",
    "torch.distributed.run",
    "transformers.models.blip.modeling_blip",
    "transformers.models.clip.image_processing_pil_clip",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)
FILES = 200  # the most that a command has open


class Server:
    """What runs now, and for whom.

    Attributes:
        clients: the connection of the client for which a process runs, by the process.
    """

    def __init__(self, door: socket.socket) -> None:
        self.door = door
        self.clients: dict[int, socket.socket] = {}
        self.waiting = selectors.DefaultSelector()
        self.waiting.register(door, selectors.EVENT_READ, self.accept)
        # Closed at the other end when the tests have ended.
        self.waiting.register(sys.stdin.fileno(), selectors.EVENT_READ, self.end)

    def serve(self) -> dict:
        """What to run. Returns in forks alone."""
        while True:
            for found, _ in self.waiting.select():
                if order := found.data():
                    return order

    def accept(self) -> dict | None:
        """Fork for a client; what to run, in the fork."""
        client, _ = self.door.accept()
        length = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
        text, received, _, _ = socket.recv_fds(client, length, FILES)
        while len(text) < length:
            text += client.recv(length - len(text))
        process = os.fork()
        if not process:
            order = json.loads(text)
            client.close()
            self.leave()
            take_over(received, order["descriptors"])
            return order
        for descriptor in received:
            os.close(descriptor)
        client.sendall(process.to_bytes(4, "big"))
        self.clients[process] = client
        ended = os.pidfd_open(process)
        self.waiting.register(ended, selectors.EVENT_READ, lambda: self.tell(process, ended))
        # A client says nothing more. If it is gone, it was killed, and so is what it stands for.
        self.waiting.register(client, selectors.EVENT_READ, lambda: self.kill(process))
        return None

    def leave(self) -> None:
        """Close what is the server's, in a fork."""
        for found in self.waiting.get_map().values():
            os.close(found.fd)
        self.waiting.close()
        self.door.detach()

    def kill(self, process: int) -> None:
        if process in self.clients:  # else it ended at the same moment
            os.kill(process, signal.SIGKILL)
            self.waiting.unregister(self.clients[process])

    def tell(self, process: int, ended: int) -> None:
        """Tell a client how its process ended."""
        _, status = os.waitpid(process, 0)
        self.waiting.unregister(ended)
        os.close(ended)
        with self.clients.pop(process) as client:
            if client.fileno() in self.waiting.get_map():
                self.waiting.unregister(client)
                client.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))

    def end(self) -> None:
        for process in self.clients:
            os.kill(process, signal.SIGKILL)
        sys.exit()


def take_over(received: list[int], numbers: list[int]) -> None:
    """Give files the numbers that they have for the client."""
    # First out of the way of each other.
    above = max((*received, *numbers)) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in received]
    for descriptor in received:
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def run(order: dict) -> None:
    """Become what was asked for."""
    os.setsid()  # signals come by the client
    os.chdir(order["folder"])
    os.umask(order["umask"])
    os.environ.clear()
    os.environ.update(order["environment"])
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    sys.executable = order["executable"]
    words = order["words"]
    module = words[1] if words[0] == "-m" else None
    first = os.getcwd() if module else os.path.dirname(os.path.abspath(words[0]))
    more = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = [first, *map(os.path.abspath, more)]
    importlib.invalidate_caches()
    for shared in find_folders_of_wandb():
        shared.name = tempfile.mkdtemp(dir=os.path.dirname(shared.name))
    if module:
        sys.argv = words[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def find_folders_of_wandb() -> list[tempfile.TemporaryDirectory]:
    """What its client makes when it is imported, beside the socket; each fork has its own."""
    media, artifact = map(importlib.import_module, ("wandb.sdk.data_types._private", "wandb.sdk.artifacts.artifact"))
    return [media.MEDIA_TMP, artifact.Artifact._TMP_DIR]


def prepare(address: str) -> Server:
    door = socket.socket(socket.AF_UNIX)
    door.bind(address)
    door.listen(64)
    del sys.path[0]  # the folder of this file
    tempfile.tempdir = os.path.dirname(address)
    for name in LIBRARIES:
        importlib.import_module(name)
    tempfile.tempdir = None
    for shared in find_folders_of_wandb():
        shared._finalizer.detach()  # a fork that ends would remove it
    # It compiles a thousand patterns, which every fork would do for itself.
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("clip_text_model")
    # A fork has of several threads one, and would wait for what the others hold.
    assert os.listdir("/proc/self/task") == [str(os.getpid())]
    gc.freeze()
    return Server(door)


def end(status: int) -> None:
    """End as an interpreter does, but for giving back what the libraries hold, piece by piece: that takes a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main(address: str) -> None:
    order = prepare(address).serve()
    status = 0
    try:
        run(order)
    except SystemExit as asked:
        status = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        if asked.code is not None and not isinstance(asked.code, int):
            print(asked.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    end(status & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1])

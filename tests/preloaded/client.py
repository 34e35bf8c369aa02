"""Stands in the place of `python` (or `dvc`): has the server beside it run the command, and ends as that ended.

What the server is not for is run by the interpreter itself. Signals are passed on; one that kills this process kills
what it stands for. The server cannot see that this process was stopped by SIGSTOP, or by whom it was started; SIGTSTP
stops what it stands for.
"""

import json
import os
import signal
import socket
import sys

SERVED = ("train", "pipelines", "lorakiln", "benchmarks", "torch.distributed.run")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    folder, name = os.path.split(os.path.abspath(__file__))
    words, environment = sys.argv[1:], dict(os.environ)
    if words[:1] == ["-u"]:
        words, environment["PYTHONUNBUFFERED"] = words[1:], "1"
    if name == "dvc":
        words = ["-m", "dvc", *words]
    elif not is_served(words):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    server = socket.socket(socket.AF_UNIX)
    # Before the connection has a number of its own.
    descriptors = [number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number, server.fileno())]
    server.connect(os.path.join(folder, "socket"))
    umask = os.umask(0)
    order = {
        "words": words,
        "executable": os.path.join(folder, "python"),
        "folder": os.getcwd(),
        "environment": environment,
        "umask": umask,
        "descriptors": descriptors,
    }
    text = json.dumps(order).encode()
    server.sendall(len(text).to_bytes(4, "big"))
    sent = socket.send_fds(server, [text], descriptors)
    server.sendall(text[sent:])
    process = int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big")
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(process, number))
    signal.signal(signal.SIGTSTP, lambda *_: os.kill(process, signal.SIGSTOP))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    end(int.from_bytes(server.recv(4, socket.MSG_WAITALL), "big", signed=True))


def is_served(words: list[str]) -> bool:
    if not words or words[0] != "-m":
        return bool(words) and words[0].endswith(".py")
    return words[1] in SERVED or words[1].split(".")[0] in SERVED


def is_open(number: int, besides: int) -> bool:
    """Whether a descriptor is of a file that whoever started this process left open for it."""
    return number != besides and (number < 3 or inherited(number))


def inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # of the listing itself
        return False


def end(status: int) -> None:
    if status >= 0:
        os._exit(status)
    if -status in PASSED_ON:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


main()

"""A headless Chromium, driven by the DevTools protocol through two pipes: no port, no driver, no library.

https://chromedevtools.github.io/devtools-protocol: messages are JSON, each ended by a zero byte; the browser reads them
from file descriptor 3 and writes to 4 (--remote-debugging-pipe).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds for what should take none
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Delete": (46, ""), " ": (32, " ")}
ARROWS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}
CONTROL, SHIFT = 2, 8


def find_chromium() -> str | None:
    """The program, where there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One page.

    Attributes:
        errors: what scripts threw, and what the browser refused to load.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing, self.number, self.buffer = reading, writing, 0, b""
        self.session, self.errors = None, list[str]()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            self._note(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.wait("document.body?.dataset.ready")

    def run(self, script: str) -> Any:
        """What an expression gives, waited for if it is a promise."""
        told = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str) -> Any:
        """The same, as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"{script} does not become true; errors: {self.errors}"
            time.sleep(0.02)
        return found

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key, down and up: a letter, or its name."""
        code, text = KEYS.get(key, (ARROWS.get(key, ord(key[0].upper())), "" if key in ARROWS else key))
        told = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        typed = {} if modifiers & CONTROL or not text else {"text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown", **told, **typed)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, from one place to another."""
        for kind, (x, y), buttons in (
            ("mousePressed", start, 1),
            ("mouseMoved", ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), 1),
            ("mouseMoved", end, 1),
            ("mouseReleased", end, 0),
        ):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'nearest'}})")
        left, top, width, height = self.locate(selector)
        self.drag((left + width / 2, top + height / 2), (left + width / 2, top + height / 2))

    def locate(self, selector: str) -> list[float]:
        """Left, top, width and height in the window."""
        script = f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
        return self.run(script + "return [r.left, r.top, r.width, r.height]; })()")

    def photograph(self, path: Path) -> None:
        told = self.send("Page.captureScreenshot", format="jpeg", quality=70)
        path.write_bytes(base64.b64decode(told["data"]))

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reading], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            self.buffer += (read := os.read(self.reading, 2**20))
            assert read, "the browser has ended"
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(event["params"]["exceptionDetails"]["exception"].get("description", "thrown"))
        elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(f"{event['params']['entry']['text']} {event['params']['entry'].get('url', '')}")


@contextmanager
def open_browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start it, with `folder` for all that it writes, and end it."""
    with ExitStack() as ending:
        pipes = []
        for descriptor in (*os.pipe(), *os.pipe()):
            # None is 3 or 4, which the shell is to make of two of them.
            pipes.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(descriptor)
            ending.callback(os.close, pipes[-1])
        theirs_in, ours_out, ours_in, theirs_out = pipes
        options = (
            f"--user-data-dir={folder} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage "
            "--no-first-run --disable-background-networking --disable-component-update --disable-sync "
            "--hide-scrollbars --remote-debugging-pipe"
        ).split()
        # A shell puts the pipes to the numbers that the protocol wants.
        shell = ("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", program, *options)
        environment = {**os.environ, "HOME": str(folder)}
        with (folder / "log").open("w") as log:
            ran = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stdout=log, stderr=log, env=environment)
        ending.callback(ran.wait)
        ending.callback(ran.kill)
        yield Browser(ours_in, ours_out)

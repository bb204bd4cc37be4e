"""A page in headless Chromium, driven over a pipe: scripts, keys, the pointer, the console, pictures.

The protocol is Chromium's own (DevTools): JSON messages that end in a NUL byte, over two file descriptors.
"""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # tests may run as root, for whom it has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever a page asks for is not to be had
)


class Page:
    """The one page of a browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._in, self._out = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the console holds of errors and warnings, and what was requested beside the page itself."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        """Close the pipes; the browser ends by itself then, if it is not killed before."""
        for file in (self._in, self._out):
            file.close()

    def open(self, path: Path) -> None:
        """Load a file, and wait until its samples are there or have failed to be."""
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise((done) => document.readyState === 'complete' ? done() : "
            "addEventListener('load', done))"
        )
        self.run(
            "new Promise(done => { const look = () => { const w = document.getElementById('waiting');"
            " !w || w.textContent.startsWith('The') ? done() : setTimeout(look, 5); }; look(); })"
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page. Raises AssertionError where it throws."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Type keys by their names: "j", "/", "ArrowDown"."""
        for key in keys:
            typed = {"text": key} if len(key) == 1 else {}
            self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        """Size and colours of the screen."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """What is in view, as a PNG file."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _receive(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._in.read1(1)) != b"\0":
            assert byte, "the browser has ended"
            parts += byte
        return json.loads(parts)

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.complaints.append(event["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(event["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(event["exceptionDetails"]))
        elif method == "Network.requestWillBeSent" and event.get("type") != "Document":
            self.complaints.append(f"asked for {event['request']['url'][:200]}")


@contextmanager
def chromium() -> Iterator[Page]:
    """A browser for the length of a block."""
    assert BROWSER is not None
    to_read, to_write = os.pipe(), os.pipe()
    # Its helpers may still write there for a moment after they were killed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:

        def place() -> None:  # Chromium reads commands from 3 and answers on 4
            os.dup2(os.dup2(to_read[0], 100), 3)
            os.dup2(os.dup2(to_write[1], 101), 4)

        process = subprocess.Popen(
            [BROWSER, *_FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            close_fds=False,
            start_new_session=True,
        )
        os.close(to_read[0])
        os.close(to_write[1])
        try:
            with closing(Page(to_write[0], to_read[1])) as page:
                yield page
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

"""Headless browser for pages: errors, layout, screenshots.

It drives Chromium by the DevTools protocol over two pipes (messages end in a zero byte), so nothing but the
browser is needed.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
INSPECT_SCRIPT = """(async () => {
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const wide = document.documentElement.clientWidth;
  const cut = ["auto", "hidden", "scroll", "clip"];
  const inner = (box) => {
    for (let up = box.parentElement; up; up = up.parentElement)
      if (cut.includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const renderedShare = (canvas) => {
    const gl = canvas.getContext("webgl"), pixels = new Uint8Array(4 * canvas.width * canvas.height);
    gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let count = 0;
    for (let at = 3; at < pixels.length; at += 4) count += pixels[at] > 0;
    return count / (canvas.width * canvas.height);
  };
  return {
    images: document.images.length,
    broken: [...document.images].filter((at) => !at.complete || !at.naturalWidth).map((at) => at.alt),
    width: wide,
    scroll: document.documentElement.scrollWidth,
    sticking_out: [...document.querySelectorAll("main *")].filter((box) => {
      const at = box.getBoundingClientRect();
      return at.width > 0 && (at.right > wide + 1 || at.left < -1) && !inner(box);
    }).map((box) => `${box.tagName}.${box.className.baseVal ?? box.className}`).slice(0, 8),
    meshes: document.querySelectorAll(".mesh canvas").length,
    meshes_drawn: [...document.querySelectorAll(".stage.live canvas")].map(renderedShare),
    voices: document.querySelectorAll("audio").length,
    sections: [...document.querySelectorAll("main section")].map((section) => section.id),
    height: document.documentElement.scrollHeight,
  };
})()"""


def find_browser() -> str | None:
    """Path of the first installed browser, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Browser:
    """One browser with one empty tab; see `browser`."""

    def __init__(self, process: "subprocess.Popen[bytes]", write: int, read: int) -> None:
        self._process, self._write, self._read = process, write, os.fdopen(read, "rb")
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method and wait for its result; events that arrive meanwhile are kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        """Read one message."""
        result = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser ended"
            result += byte
        return json.loads(result)

    def inspect(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> dict[str, Any]:
        """Open a page and return its layout; `errors` holds script and console errors."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        result = self.call(
            "Runtime.evaluate", expression=INSPECT_SCRIPT, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        errors = [
            event["params"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
        ]
        return result["result"]["value"] | {"errors": errors}

    def screenshot(self, path: Path, *, top: int = 0, height: int | None = None) -> None:
        """Write the open page as PNG, completely or a part of its height."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": top,
            "width": size["width"],
            "height": height or size["height"] - top,
            "scale": 1,
        }
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser; it ends with all its processes."""
    program = find_browser()
    assert program is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory() as home:
        # The browser reads commands from descriptor 3 and answers on 4.
        line = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        process = subprocess.Popen(
            ["/bin/bash", "-c", line, program, *FLAGS, f"--user-data-dir={home}"],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Browser(process, to_browser[1], from_browser[0])
        finally:
            os.close(to_browser[1])
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

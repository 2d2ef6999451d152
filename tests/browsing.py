"""A real browser for tests: Debian's headless Chromium, driven over its DevTools protocol by aiohttp's websocket."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT = 60.0
"""Seconds that anything may take before a test says what it waited for."""

_KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, "")}


class Tab:
    """One tab: what a person does there, and what they see."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        """What the page's console says of errors, blocked loads included."""

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = orjson.loads((await self._socket.receive(timeout=WAIT)).data)
            self._note(message)
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, message: Mapping[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(str(message["params"]["entry"]))

    async def open(self, address: str) -> None:
        """Go to an address."""
        await self.send("Page.navigate", url=address)

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression is worth in the page."""
        found = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        deadline = asyncio.get_running_loop().time() + WAIT
        while True:
            with suppress(AssertionError):  # the page may be between two documents
                if await self.evaluate(f"Boolean({expression})"):
                    return
            if asyncio.get_running_loop().time() > deadline:
                shown = await self.evaluate("document.body.innerText")
                raise AssertionError(f"never true: {expression}\n{self.problems}\n{shown}")
            await asyncio.sleep(0.02)

    async def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key; modifiers are the protocol's (2 is Ctrl, 8 is Shift)."""
        name, code, text = _KEYS[key] if key in _KEYS else (key, ord(key.upper()) if key.isalnum() else 0, key)
        about: dict[str, Any] = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        if key in _KEYS:
            about["code"] = key
        await self.send("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    async def type(self, text: str) -> None:
        """Put text into the field that has the focus."""
        await self.send("Input.insertText", text=text)

    async def look(self, *, dark: bool = False, width: int = 1100, height: int = 800) -> None:
        """Have a window of this size, light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **size)

    async def picture(self) -> bytes:
        """Return the window as a PNG."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])


class Browser:
    """A browser with its own profile."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._at = f"http://127.0.0.1:{port}"

    async def tab(self) -> Tab:
        """Open a tab."""
        async with self._session.put(f"{self._at}/json/new") as response:
            target = await response.json(content_type=None)
        tab = Tab(await self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0))
        for domain in ("Page", "Runtime", "Log"):
            await tab.send(f"{domain}.enable")
        return tab


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Browser]:
    """Run a browser while the block does."""
    assert CHROMIUM is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    silent = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [CHROMIUM, *options, *silent, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=nowhere, stderr=nowhere)
    try:
        announced = profile / "DevToolsActivePort"
        for _ in range(int(WAIT / 0.05)):
            if announced.exists() and "\n" in announced.read_text():
                break
            await asyncio.sleep(0.05)
        port = int(announced.read_text().split()[0])
        async with aiohttp.ClientSession() as session:
            yield Browser(session, port)
    finally:
        process.terminate()
        await process.wait()

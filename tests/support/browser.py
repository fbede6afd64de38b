"""Real Chromium for tests, and the visitor page as a test sees it."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Browser, Page, async_playwright

LAUNCH_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PICTURE_WIDTH = 320
"""Pictures are compared at this width: enough to see a person, and quick to bring over."""
_GRAB = """(width) => {
  const video = document.querySelector('[data-testid="stage-video"]');
  const height = Math.round(width * video.videoHeight / video.videoWidth);
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(video, 0, 0, width, height);
  const data = context.getImageData(0, 0, width, height).data;
  let luma = '';
  for (let i = 0; i < data.length; i += 4) {
    luma += String.fromCharCode((data[i] * 54 + data[i + 1] * 183 + data[i + 2] * 19) >> 8);
  }
  return [height, btoa(luma)];
}"""


def chromium_path() -> str:
    """Where Chromium is; a machine without one fails the test by name."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise RuntimeError("Chromium is missing: apt-get install chromium")


@asynccontextmanager
async def launched(more: Iterable[str] = ()) -> AsyncIterator[Browser]:
    """A headless Chromium, started with `more` arguments."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=[*LAUNCH_ARGUMENTS, *more])
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """One browser window on the visitor page, in test mode."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def probe(self) -> dict[str, Any]:
        """What the page has read from barcodes so far."""
        return await self.page.evaluate(
            """() => ({...window.farstage.barcode, sent: window.farstage.lastInputSent, states: window.farstage.states,
                connection: window.farstage.session?.statistics ?? null})"""
        )

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], what: str, seconds: float = 20.0
    ) -> dict[str, Any]:
        """Wait until what the page has read satisfies the condition."""
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    seen = await self.probe()
                    if condition(seen):
                        return seen
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = {key: value for key, value in seen.items() if key not in ("frameNumbers", "inputToPhotonMs")}
            raise AssertionError(
                f"not within {seconds} s: {what}; last seen {shown}; page errors {self.errors}"
            ) from None

    async def frames(self, more: int) -> dict[str, Any]:
        """Wait for so many more frames."""
        start = (await self.probe())["frames"]
        return await self.until(lambda seen: seen["frames"] >= start + more, f"{more} more frames")

    async def picture(self) -> NDArray[np.int16]:
        """The luma of what the video shows now, scaled to `PICTURE_WIDTH`, without the barcode's rows."""
        height, luma = await self.page.evaluate(_GRAB, PICTURE_WIDTH)
        pixels = np.frombuffer(base64.b64decode(luma), np.uint8).reshape(height, PICTURE_WIDTH)
        return pixels[height // 8 :].astype(np.int16)

    async def until_changed(self, before: NDArray[np.int16], least: float, seconds: float = 15.0) -> None:
        """Wait until the picture differs from `before` by `least` luma levels on average."""
        change = 0.0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    change = float(np.abs(await self.picture() - before).mean())
                    if change >= least:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"the picture changed by {change:.2f} levels in {seconds} s, not {least}") from None

    def by(self, test_id: str):
        """An element by its test id."""
        return self.page.get_by_test_id(test_id)


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, name: str, *, seen: bool = True, **context: Any
) -> AsyncIterator[Visitor]:
    """A visitor who has entered by `url` and, if `seen`, sees pictures."""
    window = await browser.new_context(**{"viewport": {"width": 960, "height": 540}, "locale": "en-US", **context})
    visitor = Visitor(await window.new_page())
    base, _, fragment = url.partition("#")
    joined = "&" if "?" in base else "?"
    await visitor.page.goto(f"{base}{joined}test=1&autojoin=1&name={name}" + (f"#{fragment}" if fragment else ""))
    try:
        if seen:
            await visitor.until(lambda read: len(read["frameNumbers"]) >= 5, "the first pictures")
        yield visitor
        assert visitor.errors == []
        await visitor.page.goto("about:blank")
    finally:
        await window.close()

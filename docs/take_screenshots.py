"""Takes the pictures in `docs/images` from a running farm, through real Chromium: `make screenshots`.

A farm with the Vulkan renderer is started on free ports. Companions are headless viewers who walk into view, so every
picture shows what a visitor's browser shows. Without a GPU Mesa's lavapipe draws; it takes about two minutes.

python docs/take_screenshots.py [explore gallery conference operator phone lobby]
"""

import asyncio
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page

from broker.protocol import JoinRequest, Mode, RaiseHand, Role, RoomCreate, TokenRequest, Viewport
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage import config as configuration
from farstage.bench.latency import free_ports
from farstage.farm import Farm, FarmSettings
from farstage.up import reachable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.browser import launched

IMAGES = Path(__file__).resolve().parent / "images"
JPEG_QUALITY = 88
PICTURE_DEADLINE_MS = 60_000
DESK = {"width": 1280, "height": 720}
TALL = {"width": 1280, "height": 1480}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
ROOMS = {
    "campus": Mode.EXPLORE,
    "school-visit": Mode.EXPLORE,
    "guided-tour": Mode.EXPLORE,
    "relics": Mode.GALLERY,
    "lecture": Mode.CONFERENCE,
}
COMPANIONS = (("Li Wei", -1.2), ("Marie", 0.3), ("Kofi", 0.1), ("林婉", 1.1))
"""Names, and where they look once they stand at the basin (yaw)."""
WALK_S = 9.0
"""Long enough to reach the basin's edge, which stops them, also where drawing is slow."""
AUDIENCE = ("Amara", "Björn", "Chen Yu", "Dmitri", "Elena", "Farid", "Grace", "Hiro", "Ines", "João", "Kaveh", "Lena")


@asynccontextmanager
async def running_farm(folder: Path) -> AsyncIterator[Farm]:
    """A farm that draws with Vulkan, without the barcode, with one open room of each mode."""
    broker, edge, node = free_ports(3)
    flags = [
        f"broker.port={broker}",
        f"edge.port={edge}",
        f"node.port={node}",
        "node.renderer=wgpu",
        "node.barcode=never",
        "node.units=4",
        "broker.max_fps=12",
        "log.level=warning",
    ]
    config = reachable(configuration.load(environment={}, flags=flags))
    async with Farm(FarmSettings(config, folder, progress=print)) as farm:
        async with BrokerClient(farm.broker_url, farm.api_key) as client:
            for room, mode in ROOMS.items():
                await client.create_room(RoomCreate(room=room, mode=mode, open=True, max_participants=1000))
        yield farm


@asynccontextmanager
async def page_at(browser: Browser, url: str, **context: Any) -> AsyncIterator[Page]:
    """A browser window at this address."""
    window = await browser.new_context(**{"viewport": DESK, "locale": "en-US", "bypass_csp": True, **context})
    page = await window.new_page()
    await page.goto(url)
    try:
        yield page
    finally:
        await window.close()


async def frames(page: Page, count: int) -> None:
    """Wait until the page has shown so many more pictures."""
    shown = await page.evaluate("window.farstage.barcode.frames")
    await page.wait_for_function(
        "most => window.farstage.barcode.frames >= most", arg=shown + count, timeout=PICTURE_DEADLINE_MS
    )


async def quiet(page: Page) -> None:
    """Take the pointer away and let notices fade."""
    await page.mouse.move(640, 300)
    await page.wait_for_timeout(4500)


async def save(page: Page, name: str) -> None:
    """Write what the page shows to `docs/images`."""
    IMAGES.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(await page.screenshot(scale="device"))).convert("RGB")
    path = IMAGES / f"{name}.jpg"
    picture.save(path, quality=JPEG_QUALITY, optimize=True)
    print(f"{path.name}: {picture.width}x{picture.height}, {path.stat().st_size // 1024} kB")


async def companion(farm: Farm, stack: AsyncExitStack, room: str, name: str) -> HeadlessViewer:
    """Somebody who has entered and receives a small picture without decoding it; leaves with the stack."""
    client = await stack.enter_async_context(BrokerClient(farm.broker_url))
    request = JoinRequest(display_name=name, viewport=Viewport(width=160, height=160, max_fps=8))
    grant = await client.join(room, request)
    stack.push_async_callback(client.leave, grant)
    return await stack.enter_async_context(HeadlessViewer(client, grant, decodes=False))


async def walk_to_basin(viewer: HeadlessViewer, yaw: float) -> None:
    """Walk straight ahead until the basin is reached, then turn to `yaw`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WALK_S
    while loop.time() < end:
        viewer.send_input(move_z=1.0)
        await asyncio.sleep(0.05)
    for _ in range(10):
        viewer.send_input(yaw=yaw)
        await asyncio.sleep(0.05)


async def meet(farm: Farm, stack: AsyncExitStack, room: str, enter: Callable[[], Awaitable[Page]]) -> Page:
    """Two people enter an empty room, the visitor enters between, two more follow; the third raises a hand."""
    before = [await companion(farm, stack, room, name) for name, _ in COMPANIONS[:2]]
    page = await enter()
    people = before + [await companion(farm, stack, room, name) for name, _ in COMPANIONS[2:]]
    await asyncio.gather(*(walk_to_basin(viewer, yaw) for viewer, (_, yaw) in zip(people, COMPANIONS, strict=True)))
    people[2].send(RaiseHand(raised=True))
    return page


async def enter_by_browser(stack: AsyncExitStack, browser: Browser, url: str, **context: Any) -> Page:
    """Enter a room as a visitor does and wait for its picture."""
    page = await stack.enter_async_context(page_at(browser, f"{url}&autojoin=1&test=1&fps=12&name=Ada", **context))
    await frames(page, 2)
    return page


async def explore(farm: Farm, browser: Browser) -> None:
    """The court, with companions at the basin."""
    async with AsyncExitStack() as stack:
        url = f"{farm.broker_url}/?room=campus"
        page = await meet(farm, stack, "campus", lambda: enter_by_browser(stack, browser, url))
        await page.evaluate("(input => { input.look(0, 0.08); input.setMove(0, 1); })(window.farstage.session.input)")
        await page.wait_for_timeout(450)
        await page.evaluate("window.farstage.session.input.release()")
        await quiet(page)
        await frames(page, 12)
        await save(page, "explore")


async def gallery(farm: Farm, browser: Browser) -> None:
    """A relic turned by hand, the list of exhibits, and the figures of a picture at rest."""
    url = f"{farm.broker_url}/?room=relics&autojoin=1&test=1&fps=12&name=Ada"
    async with page_at(browser, url) as page:
        await frames(page, 5)
        await page.get_by_test_id("btn-exhibits").click()
        await page.get_by_test_id("exhibit-picker").get_by_role("button").nth(1).click()
        await page.evaluate("(input => { input.look(-0.5, -0.02); input.zoom(0.15); })(window.farstage.session.input)")
        if not await page.get_by_test_id("exhibit-picker").is_visible():
            await page.get_by_test_id("btn-exhibits").click()
        await page.get_by_test_id("btn-stats").click()
        await page.wait_for_timeout(8000)
        await quiet(page)
        await save(page, "gallery")


async def host_link(farm: Farm) -> str:
    """An invitation for the host of the lecture."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        request = TokenRequest(identity="ada", display_name="Ada", role=Role.HOST)
        return (await client.mint_token("lecture", request)).link


async def take_seat(farm: Farm, stack: AsyncExitStack, name: str) -> None:
    """Enter the lecture; the fifth of the audience raises a hand."""
    viewer = await companion(farm, stack, "lecture", name)
    if name == AUDIENCE[4]:
        viewer.send(RaiseHand(raised=True))


async def conference(farm: Farm, browser: Browser) -> None:
    """The hall with an audience of a dozen; one hand is raised."""
    link = (await host_link(farm)).replace("?room=lecture", "?room=lecture&autojoin=1&test=1&name=Ada")
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(take_seat(farm, stack, name) for name in AUDIENCE))
        page = await stack.enter_async_context(page_at(browser, link))
        await frames(page, 20)
        await page.mouse.move(640, 300)
        await page.wait_for_timeout(6000)
        await save(page, "conference")


async def operator(farm: Farm, browser: Browser) -> None:
    """The operator page with people in the rooms."""
    async with AsyncExitStack() as stack:
        url = f"{farm.broker_url}/operator#key={farm.api_key}"
        page = await meet(
            farm, stack, "school-visit", lambda: stack.enter_async_context(page_at(browser, url, viewport=TALL))
        )
        for name in AUDIENCE[:3]:
            await companion(farm, stack, "lecture", name)
        await page.get_by_role("button", name="Show people").last.click()
        await page.wait_for_timeout(6000)
        await save(page, "operator")


async def phone(farm: Farm, browser: Browser) -> None:
    """The campus on a phone, held upright, in Chinese."""
    async with AsyncExitStack() as stack:
        url = f"{farm.broker_url}/?room=guided-tour"
        page = await meet(
            farm,
            stack,
            "guided-tour",
            lambda: enter_by_browser(stack, browser, url, locale="zh-CN", **PHONE),
        )
        await page.evaluate("window.farstage.session.input.look(-0.2, 0.04)")
        await page.wait_for_timeout(5000)
        await frames(page, 8)
        await save(page, "phone")


async def lobby(farm: Farm, browser: Browser) -> None:
    """The entrance."""
    async with page_at(browser, f"{farm.broker_url}/?room=campus") as page:
        await page.get_by_test_id("lobby-name").fill("Ada")
        await page.wait_for_timeout(1000)
        await save(page, "lobby")


PICTURES: dict[str, Callable[[Farm, Browser], Awaitable[None]]] = {
    "explore": explore,
    "gallery": gallery,
    "conference": conference,
    "operator": operator,
    "phone": phone,
    "lobby": lobby,
}


async def take(names: list[str]) -> None:
    """Take the pictures of these names, one after the other."""
    with tempfile.TemporaryDirectory(prefix="farstage-screenshots-") as folder:
        async with running_farm(Path(folder)) as farm, launched() as browser:
            for name in names:
                await PICTURES[name](farm, browser)


def main(arguments: list[str]) -> int:
    """Take all pictures, or those named; returns the exit status."""
    unknown = set(arguments) - PICTURES.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PICTURES)}", file=sys.stderr)
        return 2
    asyncio.run(take(arguments or list(PICTURES)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

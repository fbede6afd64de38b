"""Janus's streaming plugin behind a WHEP front, playing the stream of the comparison.

python -m benchmarks.peers.janus [--kbps 2500] [--fps 30] [--event-loops N] [--relay-threads N]

Runs Debian's `janus` with a configuration of its own. Its streaming plugin (1.1.2) makes the offer itself, so the
front swaps offers (`offer_swap`). Each payload type that clients offer H.264 with gets a mountpoint made for it, as
Janus sends the payload type it was fed. NACKs are answered, viewers start from a buffered keyframe, and keyframe
requests reach the source, at most one a second by the plugin's own rule. Prints one JSON line with the WHEP URL and
Janus's process id; ends on SIGTERM.
"""

import argparse
import asyncio
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.peers import janus_config, offer_swap, sdp_text
from benchmarks.peers.janus_api import JanusApi, JanusError
from benchmarks.peers.janus_config import JanusMissing
from benchmarks.peers.janus_feed import RtpFeed, open_feed
from farstage.bench.server_process import end
from farstage.bench.source import EncodedLoop, LoopPlayer, SourceFrame, encode_loop
from farstage.bench.whep_front import OfferRefused, serve

START_S = 15.0
STOP_S = 10.0
MAX_LOG_CHARACTERS = 2000
MID = "v"


class JanusAnswerer:
    """`Answerer` over a running Janus."""

    def __init__(self, pid: int, loop: EncodedLoop, relay_threads: int) -> None:
        self.pid = pid
        self.player = LoopPlayer(loop, self._send)
        self._relay_threads = relay_threads
        self._api: JanusApi | None = None
        self._handles: dict[str, int] = {}
        self._connected: set[int] = set()
        self._feeds: dict[str, RtpFeed] = {}
        self._creating = asyncio.Lock()

    def use(self, api: JanusApi) -> None:
        """Take the session that requests go through."""
        self._api = api

    def take(self, event: dict[str, Any]) -> None:
        """Note which viewers are connected."""
        if event.get("janus") == "webrtcup":
            self._connected.add(event["sender"])
        elif event.get("janus") in ("hangup", "detached", "timeout"):
            self._connected.discard(event.get("sender", 0))

    async def answer(self, viewer: str, offer_sdp: str) -> str:
        """See `Answerer.answer`."""
        client = sdp_text.parse(offer_sdp)
        payload_type = sdp_text.h264_payload_type(client.video())
        try:
            await self._ensure_mountpoint(payload_type)
            return await self._watch(viewer, client, int(payload_type))
        except JanusError as error:
            raise OfferRefused(str(error)) from error

    async def _watch(self, viewer: str, client: sdp_text.Description, mountpoint: int) -> str:
        assert self._api is not None
        handle = self._handles[viewer] = await self._api.attach()
        reply = await self._api.message(handle, {"request": "watch", "id": mountpoint})
        janus = sdp_text.parse(reply["jsep"]["sdp"])
        jsep = {"type": "answer", "sdp": offer_swap.answer_for_janus(client, janus), "trickle": False}
        await self._api.message(handle, {"request": "start"}, jsep)
        return offer_swap.answer_for_client(client, janus)

    async def _ensure_mountpoint(self, payload_type: str) -> None:
        async with self._creating:
            if payload_type in self._feeds:
                return
            assert self._api is not None
            handle = await self._api.attach()
            reply = await self._api.message(handle, _create_request(int(payload_type), self._relay_threads))
            (ports,) = reply["plugindata"]["data"]["stream"]["ports"]
            self._feeds[payload_type] = await open_feed(
                int(payload_type), ports["port"], ports["rtcp_port"], self.player.want_keyframe
            )
            await self._api.detach(handle)

    def _send(self, frame: SourceFrame) -> None:
        for feed in self._feeds.values():
            feed.send(frame)

    async def close(self, viewer: str) -> None:
        """See `Answerer.close`."""
        handle = self._handles.pop(viewer, None)
        if handle is not None and self._api is not None:
            self._connected.discard(handle)
            await self._api.detach(handle)

    def viewers(self) -> int:
        """See `Answerer.viewers`."""
        return len(self._connected)

    def sent_packets(self) -> None:
        """See `Answerer.sent_packets`; Janus counts them for its admin API only, which is off."""
        return

    def close_feeds(self) -> None:
        """Close the sockets."""
        for feed in self._feeds.values():
            feed.close()


def _create_request(payload_type: int, relay_threads: int) -> dict[str, Any]:
    video = {
        "type": "video",
        "mid": MID,
        "iface": "127.0.0.1",
        "port": 0,
        "rtcpport": 0,
        "pt": payload_type,
        "codec": "h264",
        "fmtp": "profile-level-id=42e01f;packetization-mode=1",
        "bufferkf": True,
    }
    return {"request": "create", "type": "rtp", "id": payload_type, "threads": relay_threads, "media": [video]}


@asynccontextmanager
async def running_janus(event_loops: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A Janus of our own: its process and the URL of its API."""
    executable = shutil.which("janus")
    if executable is None:
        raise JanusMissing("janus is not on this machine: sudo apt-get install janus")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="farstage-janus-") as name:
        folder = Path(name)
        janus_config.write(folder, port, event_loops)
        arguments = ("--configs-folder", str(folder), "--config", str(folder / "janus.jcfg"))
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(executable, *arguments, stdout=log, stderr=log)
        try:
            yield process, f"http://127.0.0.1:{port}/janus"
        except JanusError as error:
            last = (folder / "log").read_text(errors="replace")[-MAX_LOG_CHARACTERS:]
            raise JanusError(f"{error}; its log ends: {last}") from error
        finally:
            await end(process, STOP_S)


@asynccontextmanager
async def playing_janus(loop: EncodedLoop, event_loops: int, relay_threads: int) -> AsyncIterator[JanusAnswerer]:
    """Janus with the stream running."""
    _raise_file_limit()
    async with running_janus(event_loops) as (process, url), aiohttp.ClientSession() as http:
        answerer = JanusAnswerer(process.pid, loop, relay_threads)
        api = JanusApi(http, url, answerer.take)
        await _open_when_up(api, process)
        answerer.use(api)
        tasks = [asyncio.create_task(api.poll()), asyncio.create_task(answerer.player.run())]
        try:
            yield answerer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            answerer.close_feeds()


async def _open_when_up(api: JanusApi, process: asyncio.subprocess.Process) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        if process.returncode is not None:
            raise JanusError(f"Janus ended with status {process.returncode} while it was starting")
        try:
            return await api.open()
        except JanusError as error:
            if time.monotonic() > deadline_s:
                raise JanusError(f"Janus did not answer within {START_S:.0f} s of its start") from error
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _raise_file_limit() -> None:
    """A viewer takes a few descriptors of Janus, which inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Encode, then serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kbps", type=int, default=2500)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--event-loops", type=int, default=1, help="Janus's threads for all viewers")
    parser.add_argument("--relay-threads", type=int, default=0, help="the plugin's helper threads")
    options = parser.parse_args()
    loop = encode_loop(options.kbps * 1000, options.fps)
    serve(lambda: playing_janus(loop, options.event_loops, options.relay_threads))


if __name__ == "__main__":
    main()

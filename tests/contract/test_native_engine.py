"""What the native engine promises beyond the contract of every engine, on real sockets."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aioice
import pytest

from broker.protocol import H264Profile
from edge.app import default_viewers
from edge.engine import MediaFrame, ice_credentials
from edge.engine_choice import AIORTC, AUTO, NATIVE, EngineMissing, choose_engine
from edge.native_engine import NativeEngine
from tests.contract.test_engine_contract import (
    WIDTH,
    Camera,
    Client,
    Handler,
    layered,
    on_a_line,
    play_layers_until,
    play_until,
    settings,
    soon,
    viewing,
)

BASELINE = H264Profile.CONSTRAINED_BASELINE


@asynccontextmanager
async def engine(**options) -> AsyncIterator[tuple[NativeEngine, Handler]]:
    handler = Handler()
    made = NativeEngine(handler, **options)
    try:
        yield made, handler
    finally:
        await made.shutdown()


def ports(sdp: str) -> set[str]:
    return set(re.findall(r"a=candidate:\S+ 1 (?:udp|tcp) \d+ \S+ (\d+) ", sdp))


async def test_all_viewers_share_one_port_over_udp_and_tcp() -> None:
    async with engine() as (media, _):
        clients = [Client() for _ in range(3)]
        answers = [await media.answer(settings(f"s{at}"), await client.offer()) for at, client in enumerate(clients)]
        assert len(set().union(*map(ports, answers))) == 1
        assert all(" udp " in answer and "tcptype passive" in answer for answer in answers)
        await asyncio.gather(*(client.close() for client in clients))


async def test_port_can_be_chosen_and_one_that_is_taken_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            NativeEngine(Handler(), ["127.0.0.1"], port=port)
    async with engine(host_addresses=["127.0.0.1"], port=port) as (media, _):
        assert media.core.addresses() == [f"127.0.0.1:{port}"]


async def test_answers_name_the_announced_address_where_the_network_translates() -> None:
    async with engine(host_addresses=["127.0.0.1"], announced=["203.0.113.7"]) as (media, _):
        client = Client()
        answer = await media.answer(settings(), await client.offer())
        assert " 203.0.113.7 " in answer
        assert " 127.0.0.1 " not in "".join(line for line in answer.splitlines() if "candidate" in line)
        await client.close()


@pytest.mark.parametrize("avoid_gso", [False, True], ids=["gso", "sendmmsg"])
@pytest.mark.parametrize("shards", [1, 3])
async def test_pictures_arrive_whole_however_they_are_sent(avoid_gso: bool, shards: int) -> None:
    async with engine(avoid_gso=avoid_gso, shards=shards) as (media, handler):
        assert media.core.send_mode() == ("sendmmsg" if avoid_gso else "gso")
        assert media.core.shards() == shards
        async with (
            viewing(media, settings("s1", profile=BASELINE)) as one,
            viewing(media, settings("s2", profile=BASELINE)) as other,
        ):
            await soon(handler.connected.get())
            await soon(handler.connected.get())
            camera = Camera(profile=BASELINE)
            await play_until(media, camera, lambda: min(one.pictures.qsize(), other.pictures.qsize()) >= 30)
            assert media.core.counters()["panics"] == 0


async def test_newcomer_starts_from_the_group_that_is_kept_and_nobody_is_asked_for_a_keyframe() -> None:
    async with engine() as (media, handler), viewing(media, settings("s1", profile=BASELINE)) as first:
        await soon(handler.connected.get())
        camera = Camera(profile=BASELINE)
        await play_until(media, camera, lambda: first.pictures.qsize() >= 5)
        asked = handler.keyframes_needed
        async with viewing(media, settings("s2", profile=BASELINE)) as second:
            await soon(handler.connected.get())
            for _ in range(15):
                media.send("stream", camera.picture())
                await asyncio.sleep(1 / 30)
            assert second.pictures.qsize() >= 15, "what was sent before it came is there too"
            assert handler.keyframes_needed == asked


async def test_old_group_is_not_replayed_but_a_keyframe_asked_for_once() -> None:
    async with engine(shards=1) as (media, handler), viewing(media, settings("s1", profile=BASELINE)):
        await soon(handler.connected.get())
        camera = Camera(profile=BASELINE)
        keyframe, delta = camera.picture(keyframe=True), camera.picture()
        assert not delta.keyframe
        media.send("stream", keyframe)
        for number in range(30):
            await asyncio.sleep(0.1)
            media.send("stream", MediaFrame(delta.payload, keyframe=False, timestamp=(number + 2) * 9000))
        asked = handler.keyframes_needed
        async with viewing(media, settings("s2", profile=BASELINE)), viewing(media, settings("s3", profile=BASELINE)):
            await soon(handler.connected.get())
            await soon(handler.connected.get())
            await asyncio.sleep(0.2)
            assert handler.keyframes_needed == asked + 1
            sent = {str(row["session"]): int(row["packets_sent"]) for row in media.statistics()}
            assert sent["s1"] > 30
            assert sent["s2"] == sent["s3"] == 0


async def test_connection_that_is_replaced_hears_no_farewell_but_one_that_is_closed_does() -> None:
    async with engine() as (media, handler), viewing(media, settings()) as old:
        await soon(handler.connected.get())
        async with viewing(media, settings()) as new:
            await soon(handler.connected.get())
            assert old.connection.connectionState == "connected", "its page would show black before the new one plays"
            await media.close("s1")
            async with asyncio.timeout(5):
                while new.connection.connectionState == "connected":
                    await asyncio.sleep(0.05)


class Elsewhere:
    """A socket on another network of the viewer's: checks go out, answers and packets come in."""

    def __init__(self, edge: tuple[str, int]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(edge)
        self.socket.setblocking(False)

    async def check(self, ours: tuple[str, str], theirs: tuple[str, str]) -> bool:
        """Whether a nominating check by these credentials, the viewer's and the edge's, is answered."""
        request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{theirs[0]}:{ours[0]}"
        request.attributes["PRIORITY"] = 1
        request.attributes["ICE-CONTROLLING"] = 7
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(theirs[1].encode())
        self.socket.send(bytes(request))
        try:
            return await self.receive(lambda data: data[:2] == b"\x01\x01")
        except TimeoutError:
            return False

    async def receive(self, expected: Callable[[bytes], bool]) -> bool:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(1):
            while not expected(await loop.sock_recv(self.socket, 2048)):
                pass
        return True


async def test_ice_restarts_on_a_connection_that_goes_on() -> None:
    async with engine(host_addresses=["127.0.0.1"]) as (media, handler):
        client = Client()
        offer = await client.offer()
        answer = await media.answer(settings(profile=BASELINE), offer)
        await client.accept(answer)
        await soon(handler.connected.get())
        host, port = media.core.addresses()[0].split(":")
        elsewhere = Elsewhere((host, int(port)))
        former = (ice_credentials(offer), ice_credentials(answer))
        anew = ("anew", "AnotherPasswordOf24Bytes")
        fragment = await media.trickle("s1", f"a=ice-ufrag:{anew[0]}\r\na=ice-pwd:{anew[1]}\r\n")
        assert fragment is not None
        camera = Camera(profile=BASELINE)
        await play_until(media, camera, lambda: client.pictures.qsize() >= 10)
        assert await elsewhere.check(anew, ice_credentials(fragment))
        media.send("stream", camera.picture())
        assert await elsewhere.receive(lambda data: data[0] >> 6 == 2), "the picture goes where the check came from"
        assert not await elsewhere.check(*former)
        assert handler.gone.empty()
        assert len(media.statistics()) == 1
        elsewhere.socket.close()
        await client.close()


async def test_strangers_get_no_answer_and_are_counted() -> None:
    async with engine(host_addresses=["127.0.0.1"], shards=1) as (media, _):
        host, port = media.core.addresses()[0].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(0.5)
            stranger.connect((host, int(port)))
            binding_request = bytes.fromhex("000100002112a442") + bytes(12)
            for datagram in (b"hello", binding_request, bytes([22]) * 60, bytes([128]) * 60, b"\x80\xc8" + bytes(60)):
                stranger.send(datagram)
            with pytest.raises(TimeoutError):
                stranger.recv(2048)
        counters = media.core.counters()
        assert counters["stun_refused"] == 1
        assert counters["strangers"] == 4


async def test_tcp_connections_that_prove_nothing_are_bounded_and_closed() -> None:
    async with engine(host_addresses=["127.0.0.1"], shards=1) as (media, _):
        host, port = media.core.addresses()[0].split(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
        closed = [reader.read(1) for reader, _ in silent]
        done, open_still = await asyncio.wait([asyncio.ensure_future(read) for read in closed], timeout=2.0)
        assert len(done) == 300 - 256, "what is beyond the bound is closed at once"
        done, open_still = await asyncio.wait(open_still, timeout=12.0)
        assert not open_still, "and the others in time"
        nonsense_reader, nonsense = await asyncio.open_connection(host, int(port))
        nonsense.write(b"\xff\xff" + b"GET / HTTP/1.1")
        assert await asyncio.wait_for(nonsense_reader.read(1), 2.0) == b"", "a frame beyond the limit ends it"
        for _, writer in [*silent, (None, nonsense)]:
            writer.close()


async def test_layers_are_remembered_for_those_who_join_later_and_forgotten_when_told() -> None:
    async with engine() as (media, handler):
        media.set_layers("stream", [200_000, 2_000_000])
        for described in (True, False):
            async with viewing(media, on_a_line("s1", 5e6)) as client:
                await soon(handler.connected.get())
                cameras = layered()
                await play_layers_until(media, cameras, lambda client=client: client.pictures.qsize() >= 5, handler)
                widths = {client.pictures.get_nowait().width for _ in range(5)}
                assert widths == {2 * WIDTH if described else WIDTH}
                (row,) = media.statistics()
                assert row["wanted_layer"] == int(described)
            await soon(handler.gone.get())
            media.set_layers("stream", [])


async def test_lost_packets_and_frozen_pictures_are_counted() -> None:
    async with engine() as (media, handler), viewing(media, settings(profile=BASELINE)) as client:
        await soon(handler.connected.get())
        await play_until(media, Camera(profile=BASELINE), lambda: client.pictures.qsize() >= 15)
        (receiver,) = client.connection.getReceivers()
        (ssrc,) = receiver._RTCRtpReceiver__remote_streams
        await receiver._send_rtcp_nack(ssrc, [1, 2, 3])
        async with asyncio.timeout(5):
            while media.statistics()["freezes"][0] == 0:
                await receiver._send_rtcp_pli(ssrc)
                await asyncio.sleep(0.1)
        (row,) = media.statistics()
        assert (row["nacks"], row["freezes"]) == (3, 1)


async def test_picture_that_cannot_be_packetised_harms_nobody() -> None:
    async with engine() as (media, handler), viewing(media, settings(profile=BASELINE)) as client:
        await soon(handler.connected.get())
        media.send("stream", MediaFrame(b"", keyframe=True, timestamp=1))
        await play_until(media, Camera(profile=BASELINE), lambda: client.pictures.qsize() >= 3)


def test_an_edge_promises_as_many_viewers_as_its_engine_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert default_viewers(SimpleNamespace(name=NATIVE)) == 4000  # type: ignore[arg-type]
    assert default_viewers(SimpleNamespace(name=AIORTC)) == 64  # type: ignore[arg-type]


def test_engine_is_chosen_by_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine(AUTO) == NATIVE
    assert choose_engine(AIORTC) == AIORTC
    monkeypatch.setattr("edge.engine_choice.native_is_built", lambda: False)
    assert choose_engine(AUTO) == AIORTC
    with pytest.raises(EngineMissing, match="make native"):
        choose_engine(NATIVE)

"""Strangers at the edge's UDP port, with aiortc behind the guard."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator

import pytest
from aioice import stun
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection

from broker.protocol import Codec
from edge import ice_guard
from edge.aiortc_engine import AiortcEngine
from edge.engine import ViewerSettings


class Deaf:
    """A viewer handler that ignores everything."""

    def __getattr__(self, name: str):
        return lambda *_: None


class Stranger(asyncio.DatagramProtocol):
    """Sends to the edge and collects what comes back."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.answers.put_nowait(data)


@dataclasses.dataclass
class Scene:
    """An edge with one answered viewer who has not connected, and a stranger."""

    transport: asyncio.DatagramTransport
    stranger: Stranger
    username: str
    password: str
    connection: object

    async def answered(self, datagram: bytes) -> bytes | None:
        self.transport.sendto(datagram)
        try:
            return await asyncio.wait_for(self.stranger.answers.get(), 0.4)
        except TimeoutError:
            return None

    def request(self, username: str, password: str) -> bytes:
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = username
        message.attributes["PRIORITY"] = 1
        message.attributes["ICE-CONTROLLING"] = 1
        message.add_message_integrity(password.encode())
        return bytes(message)


def attribute(sdp: str, name: str) -> str:
    return next(line.split(":", 1)[1] for line in sdp.splitlines() if line.startswith(f"a={name}:"))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    engine = AiortcEngine(Deaf())  # type: ignore[arg-type]
    client = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    client.addTransceiver("video", direction="recvonly")
    await client.setLocalDescription(await client.createOffer())
    answer = await engine.answer(ViewerSettings("s", "t", Codec.H264), client.localDescription.sdp)
    candidate = attribute(answer, "candidate").split()
    connection = engine._viewers["s"].connection.getTransceivers()[0].sender.transport.transport._connection
    stranger = Stranger()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: stranger, remote_addr=(candidate[4], int(candidate[5]))
    )
    username = f"{attribute(answer, 'ice-ufrag')}:{attribute(client.localDescription.sdp, 'ice-ufrag')}"
    yield Scene(transport, stranger, username, attribute(answer, "ice-pwd"), connection)
    transport.close()
    await client.close()
    await engine.shutdown()


def dropped() -> dict[str, int]:
    return dataclasses.asdict(ice_guard.counters)


async def test_stun_request_with_the_right_mac_is_answered(scene: Scene) -> None:
    answer = await scene.answered(scene.request(scene.username, scene.password))
    assert answer is not None
    assert stun.parse_message(answer).message_method == stun.Method.BINDING


async def test_stun_requests_that_do_not_prove_themselves_get_silence(scene: Scene) -> None:
    before = dropped()["stun_unauthenticated"]
    unsigned = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    unsigned.attributes["USERNAME"] = scene.username
    hostile = [
        scene.request(scene.username, "wrong" + scene.password),
        scene.request("nobody:else", scene.password),
        bytes(unsigned),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)),
    ]
    for datagram in hostile:
        assert await scene.answered(datagram) is None
    assert dropped()["stun_unauthenticated"] == before + len(hostile)


async def test_dtls_and_rtp_of_unvalidated_sources_never_reach_the_reader(scene: Scene) -> None:
    before = dropped()["unvalidated_source"]
    for first in (20, 22, 63, 128, 191, 255):
        assert await scene.answered(bytes([first]) + os.urandom(200)) is None
    assert scene.connection._queue.qsize() == 0
    assert dropped()["unvalidated_source"] == before + 6


async def test_validated_source_is_read_but_cannot_fill_memory(scene: Scene) -> None:
    await scene.answered(scene.request(scene.username, scene.password))
    protocol = scene.connection._protocols[0]
    source = scene.transport.get_extra_info("sockname")
    before = dropped()["queue_full"]
    for _ in range(ice_guard.MAX_QUEUED_DATAGRAMS + 500):
        protocol.datagram_received(b"\x80" + bytes(100), source)
    assert scene.connection._queue.qsize() <= ice_guard.MAX_QUEUED_DATAGRAMS
    assert dropped()["queue_full"] >= before + 500


async def test_malformed_stun_is_dropped_and_counted(scene: Scene) -> None:
    before = sum(dropped().values())
    request = scene.request(scene.username, scene.password)
    hostile = [request[:length] for length in (1, 4, 19, 21, len(request) - 1)]
    hostile += [request[:20] + os.urandom(len(request) - 20), b"\x00\x01" + bytes(40)]
    for datagram in hostile:
        assert await scene.answered(datagram) is None
    assert sum(dropped().values()) == before + len(hostile)

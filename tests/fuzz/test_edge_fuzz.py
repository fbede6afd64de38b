"""Arbitrary bytes into the edge's parsers: each is either understood or refused by name."""

import asyncio

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.protocol import Codec, decode_client_message
from edge.aiortc_engine import AiortcEngine
from edge.engine import OfferError, ViewerSettings
from edge.trunk.framing import (
    Frame,
    Kind,
    StreamOpen,
    TrunkError,
    ViewerInput,
    pack,
    parse_audio,
    parse_control,
    parse_voice,
    unpack,
)

VALID = pack(Frame(Kind.FRAME, 1, b"payload", 1, 2, 0, 0, 3, 4))


@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, 38), st.integers(0, 255)).map(
        lambda change: VALID[: change[0]] + bytes([change[1]]) + VALID[change[0] + 1 :]
    )
)
def test_trunk_message_is_read_or_refused(message: bytes) -> None:
    try:
        frame = unpack(message)
    except TrunkError:
        return
    assert pack(frame)[32:] == message[32:]


@given(st.sampled_from([StreamOpen, ViewerInput]), st.binary(max_size=300))
def test_trunk_control_is_read_or_refused(struct_type, payload: bytes) -> None:
    for parse in (lambda frame: parse_control(struct_type, frame), parse_voice, parse_audio):
        try:
            parse(Frame(Kind.OPEN, 1, payload))
        except TrunkError:
            continue


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@example(b'{"type":"input","seq":1e400}')
@example(b"[" * 5000)
def test_client_message_is_read_or_refused(data: bytes) -> None:
    try:
        decode_client_message(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


class Deaf:
    """A viewer handler that ignores everything."""

    def __getattr__(self, name: str):
        return lambda *_: None


OFFER = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=rtcp-mux
a=mid:0
a=recvonly
a=ice-ufrag:abcd
a=ice-pwd:abcdabcdabcdabcdabcdabcd
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=rtpmap:96 H264/90000
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:1
a=sctp-port:5000
a=ice-ufrag:abcd
a=ice-pwd:abcdabcdabcdabcdabcdabcd
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
""".replace("\n", "\r\n")

lines = OFFER.splitlines(keepends=True)
mutations = st.one_of(
    st.integers(0, len(lines) - 1).map(lambda at: "".join(lines[:at] + lines[at + 1 :])),
    st.integers(0, len(lines) - 1).map(lambda at: "".join(lines[:at] + [lines[at]] * 3 + lines[at + 1 :])),
    st.tuples(st.integers(0, len(OFFER) - 1), st.characters()).map(
        lambda change: OFFER[: change[0]] + change[1] + OFFER[change[0] + 1 :]
    ),
    st.integers(0, len(OFFER)).map(lambda length: OFFER[:length]),
)


@settings(max_examples=60, deadline=None)
@given(mutations)
@example(OFFER)
def test_offer_is_answered_or_refused_and_nothing_stays_behind(offer: str) -> None:
    async def answer() -> None:
        engine = AiortcEngine(Deaf())  # type: ignore[arg-type]
        try:
            await engine.answer(ViewerSettings("s", "t", Codec.H264), offer)
        except OfferError:
            assert not engine._viewers
            assert not engine._watching
        finally:
            await engine.shutdown()

    asyncio.run(answer())

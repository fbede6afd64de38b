import msgspec
import pytest

from edge.trunk.framing import (
    HEADER_BYTES,
    MAX_AUDIO_SESSIONS,
    MAX_CONTROL_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_STATE_BYTES,
    Flag,
    Frame,
    Kind,
    StreamOpen,
    TrunkError,
    ViewerAudio,
    ViewerInput,
    pack,
    pack_audio,
    pack_control,
    pack_voice,
    parse_audio,
    parse_control,
    parse_voice,
    unpack,
)

FRAME = Frame(Kind.FRAME, 7, b"picture", Flag.KEYFRAME, 41, 2, 1, 1_700_000_000_000_000, 99)


def test_frame_survives_packing() -> None:
    restored = unpack(pack(FRAME))
    assert bytes(restored.payload) == b"picture"
    assert restored == Frame(Kind.FRAME, 7, restored.payload, Flag.KEYFRAME, 41, 2, 1, 1_700_000_000_000_000, 99)
    assert restored.keyframe


def test_header_is_laid_out_as_documented() -> None:
    packed = pack(FRAME)
    assert HEADER_BYTES == 32
    assert packed[0] == 1
    assert packed[1] == Kind.FRAME
    assert int.from_bytes(packed[2:4]) == Flag.KEYFRAME
    assert int.from_bytes(packed[4:8]) == 7
    assert int.from_bytes(packed[8:12]) == 41
    assert packed[12:14] == b"\x02\x01"
    assert int.from_bytes(packed[16:24]) == 1_700_000_000_000_000
    assert int.from_bytes(packed[24:28]) == 99
    assert int.from_bytes(packed[28:32]) == len(b"picture")
    assert packed[32:] == b"picture"


def test_unknown_flag_bits_are_ignored() -> None:
    packed = bytearray(pack(FRAME))
    packed[2] = 0xFF
    assert unpack(bytes(packed)).keyframe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda packed: packed[:31], "shorter"),
        (lambda packed: b"\x02" + packed[1:], "version 2"),
        (lambda packed: packed[:1] + b"\xee" + packed[2:], "kind 238"),
        (lambda packed: packed + b"!", "payload_length"),
    ],
)
def test_malformed_message_is_refused_with_the_rule(change, words: str) -> None:
    with pytest.raises(TrunkError, match=words):
        unpack(change(pack(FRAME)))


@pytest.mark.parametrize(
    ("kind", "limit"), [(Kind.FRAME, MAX_PAYLOAD_BYTES), (Kind.STATE, MAX_STATE_BYTES), (Kind.EVENT, MAX_CONTROL_BYTES)]
)
def test_payload_over_its_limit_is_refused(kind: Kind, limit: int) -> None:
    pack(Frame(kind, 1, bytes(limit)))
    with pytest.raises(TrunkError, match=str(limit)):
        pack(Frame(kind, 1, bytes(limit + 1)))


def test_control_body_names_the_wrong_key() -> None:
    message = pack(Frame(Kind.OPEN, 1, b'{"stream":"a","fence":1,"colour":"red"}'))
    with pytest.raises(TrunkError, match="colour"):
        parse_control(StreamOpen, unpack(message))


def test_viewer_input_keeps_the_body_as_sent() -> None:
    body = msgspec.Raw(b'{"type":"input","seq":5}')
    packed = pack_control(Kind.INPUT, 3, ViewerInput(session="s", participant="p", body=body))
    assert bytes(parse_control(ViewerInput, unpack(packed)).body) == bytes(body)


def test_voice_carries_participant_and_frame() -> None:
    assert parse_voice(unpack(pack_voice(1, "p-1", b"\x00opus\x00"))) == ("p-1", b"\x00opus\x00")


@pytest.mark.parametrize("payload", [b"", b"nobody", b"\0frame", b"\xff\xfe\0frame"])
def test_voice_without_a_participant_is_refused(payload: bytes) -> None:
    with pytest.raises(TrunkError):
        parse_voice(Frame(Kind.VOICE, 1, payload))


@pytest.mark.parametrize(
    "audio",
    [
        ViewerAudio(b"\0opus\0,", 1_700_000_000_020_000, frozenset({"s-1", "s-2"})),
        ViewerAudio(b"opus", 20_000, frozenset({"s-1"}), everybody_else=True),
        ViewerAudio(b"opus", 20_000, everybody_else=True),
        ViewerAudio(b"opus", 20_000),
    ],
)
def test_audio_carries_listeners_time_and_frame(audio: ViewerAudio) -> None:
    assert parse_audio(unpack(pack_audio(1, audio))) == audio


def test_audio_is_for_those_named_or_for_everybody_else() -> None:
    named = frozenset({"s1"})
    assert [ViewerAudio(b"o", 0, named).is_for(session) for session in ("s1", "s2")] == [True, False]
    assert [ViewerAudio(b"o", 0, named, True).is_for(session) for session in ("s1", "s2")] == [False, True]
    assert ViewerAudio(b"o", 0, everybody_else=True).is_for("s1")
    assert not ViewerAudio(b"o", 0).is_for("s1")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "without an Opus frame"),
        (b"s1", "without an Opus frame"),
        (b"s1\0", "without an Opus frame"),
        (b"s1,,s2\0frame", "64 ASCII"),
        (b"\xff\xfe\0frame", "64 ASCII"),
        (b"s" * 65 + b"\0frame", "64 ASCII"),
        (b",".join([b"s"] * (MAX_AUDIO_SESSIONS + 1)) + b"\0frame", str(MAX_AUDIO_SESSIONS)),
    ],
)
def test_audio_that_names_nobody_rightly_is_refused(payload: bytes, words: str) -> None:
    with pytest.raises(TrunkError, match=words):
        parse_audio(Frame(Kind.AUDIO, 1, payload))

"""What the headless viewer gives out, and what it asks for, when packets are late, lost or out of order."""

from aiortc.rtp import RtpPacket

from client_demo.headless.jitter_buffer import (
    GIVE_UP_TICKS,
    KEYFRAME_AGAIN_TICKS,
    PACKET_AGAIN_TICKS,
    PromptJitterBuffer,
    RepeatingNackGenerator,
)

FRAME_TICKS = 3000
KEY = b"\x00\x00\x00\x01\x65"
DELTA = b"\x00\x00\x00\x01\x41"


def packet(number: int, frame: int, data: bytes = DELTA, *, last: bool = True) -> RtpPacket:
    """The packet with this sequence number, of this frame."""
    made = RtpPacket(sequence_number=number % 65536, timestamp=frame * FRAME_TICKS % 2**32, marker=int(last))
    vars(made)["_data"] = data
    return made


def given_out(buffer: PromptJitterBuffer, *packets: RtpPacket) -> list[bytes]:
    """The pictures that come out while these packets go in."""
    frames = [buffer.add(entry)[1] for entry in packets]
    return [frame.data for frame in frames if frame is not None]


def test_picture_comes_out_with_its_last_packet() -> None:
    buffer = PromptJitterBuffer()
    assert given_out(buffer, packet(1, 0, KEY, last=False)) == []
    assert given_out(buffer, packet(2, 0, b"rest")) == [KEY + b"rest"]
    assert given_out(buffer, packet(3, 1)) == [DELTA]


def test_numbers_and_timestamps_may_wrap() -> None:
    buffer = PromptJitterBuffer()
    last_frame = 2**32 // FRAME_TICKS
    packets = [packet(65534 + n, last_frame - 2 + n, KEY if n == 0 else DELTA) for n in range(6)]
    assert len(given_out(buffer, *packets)) == 6


def test_picture_waits_for_its_missing_packet_and_those_after_it_for_the_picture() -> None:
    buffer = PromptJitterBuffer()
    given_out(buffer, packet(1, 0, KEY))
    assert given_out(buffer, packet(3, 1, b"second"), packet(4, 2)) == []
    assert given_out(buffer, packet(2, 1, b"first", last=False), packet(5, 3)) == [b"firstsecond", DELTA]


def test_after_a_packet_is_given_up_nothing_comes_out_before_a_keyframe() -> None:
    buffer = PromptJitterBuffer()
    given_out(buffer, packet(1, 0, KEY))
    asked_at = []
    frames = range(2, 2 + (GIVE_UP_TICKS + KEYFRAME_AGAIN_TICKS) // FRAME_TICKS + 5)
    for frame in frames:
        ask, picture = buffer.add(packet(frame + 1, frame))
        assert picture is None
        if ask:
            asked_at.append(frame)
    assert len(asked_at) == 2, "once, and again when no keyframe comes"
    assert given_out(buffer, packet(frames.stop + 1, frames.stop, KEY)) == [KEY]
    assert given_out(buffer, packet(frames.stop + 2, frames.stop + 1)) == [DELTA]


def test_missing_packet_is_asked_for_until_it_comes() -> None:
    nack = RepeatingNackGenerator()
    assert not nack.add(packet(1, 1))
    assert nack.add(packet(3, 2)), "at once"
    frames = range(3, 2 + 2 * PACKET_AGAIN_TICKS // FRAME_TICKS + 3)
    assert sum(nack.add(packet(frame + 1, frame)) for frame in frames) == 2, "and again after a while"
    assert not nack.add(packet(2, 2)), "it has come"
    assert not any(nack.add(packet(frames.stop + n + 1, frames.stop + n)) for n in range(10))

import pytest

from edge.trunk.framing import Flag, Frame, Kind, TrunkError, unpack
from edge.trunk.outbox import MAX_CONTROL_MESSAGES, MAX_QUEUED_FRAMES, MAX_QUEUED_SOUND, Outbox


def frame(sequence: int, *, keyframe: bool = False, channel: int = 1) -> Frame:
    return Frame(Kind.FRAME, channel, b"x", Flag.KEYFRAME if keyframe else 0, sequence)


def sequences(outbox: Outbox) -> list[int]:
    return [unpack(outbox.pop()).sequence for _ in range(len(outbox))]


def test_frames_leave_in_order() -> None:
    outbox = Outbox()
    assert all(outbox.put_frame(frame(number)) for number in range(5))
    assert sequences(outbox) == [0, 1, 2, 3, 4]


def test_slow_peer_gets_nothing_between_the_drop_and_the_next_keyframe() -> None:
    outbox = Outbox()
    for number in range(MAX_QUEUED_FRAMES):
        outbox.put_frame(frame(number))
    assert not outbox.put_frame(frame(100))
    sequences(outbox)
    assert not outbox.put_frame(frame(101))
    assert outbox.put_frame(frame(102, keyframe=True))
    assert outbox.put_frame(frame(103))
    assert sequences(outbox) == [102, 103]
    assert outbox.frames_dropped == 2


def test_one_slow_channel_does_not_harm_another() -> None:
    outbox = Outbox()
    for number in range(MAX_QUEUED_FRAMES + 1):
        outbox.put_frame(frame(number, channel=1))
    assert outbox.put_frame(frame(7, channel=2))


def test_peer_that_stops_reading_control_is_given_up() -> None:
    outbox = Outbox()
    for _ in range(MAX_CONTROL_MESSAGES):
        outbox.put(b"m")
    with pytest.raises(TrunkError, match="stopped reading"):
        outbox.put(b"m")


def test_forgotten_channel_leaves_the_others_queued() -> None:
    outbox = Outbox()
    outbox.put_frame(frame(1, channel=1))
    outbox.put_frame(frame(2, channel=2))
    outbox.forget(1)
    assert sequences(outbox) == [2]
    assert all(outbox.put_frame(frame(number, channel=1)) for number in range(MAX_QUEUED_FRAMES))


def test_sound_for_a_slow_peer_is_dropped_and_harms_nothing_else() -> None:
    outbox = Outbox()
    for _ in range(MAX_QUEUED_SOUND + 7):
        outbox.put_sound(b"sound")
    assert outbox.sound_dropped == 7
    outbox.put(b"control")
    assert [outbox.pop() for _ in range(len(outbox))][-2:] == [b"sound", b"control"]
    outbox.put_sound(b"again")
    assert outbox.pop() == b"again"
    outbox.put_sound(b"void")
    outbox.clear()
    for _ in range(MAX_QUEUED_SOUND):
        outbox.put_sound(b"sound")
    assert outbox.sound_dropped == 7

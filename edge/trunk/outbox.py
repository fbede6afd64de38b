"""A bounded queue of messages waiting for one WebSocket, and what it drops when the peer is slow.

Pure: no I/O. Frames are dropped up to the next keyframe of their layer, sound when too much of it waits; control
messages are never dropped, a peer that lets `MAX_CONTROL_MESSAGES` of them pile up is gone and is cut off.
"""

from collections import deque

from edge.trunk.framing import Frame, TrunkError, pack

MAX_QUEUED_FRAMES = 12
"""Frames of one layer waiting; at 60 frames/s older ones would be a fifth of a second late."""
MAX_QUEUED_SOUND = 100
"""Voices and mixes waiting on the connection; the next ones are dropped, as sound that is late is of no use."""
MAX_CONTROL_MESSAGES = 2000
_Layer = tuple[int, int]
"""Channel and simulcast layer."""
_CONTROL: _Layer = (0, 0)
_SOUND: _Layer = (-1, 0)


class Outbox:
    """What waits to be sent on one connection."""

    def __init__(self) -> None:
        self._queue: deque[tuple[_Layer, bytes]] = deque()
        self._queued_frames: dict[_Layer, int] = {}
        self._awaiting_keyframe: set[_Layer] = set()
        self._control_messages = 0
        self._queued_sound = 0
        self.frames_dropped = 0
        self.sound_dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: bytes) -> None:
        """Queue a control message. Raises `TrunkError` when the peer has stopped reading."""
        if self._control_messages >= MAX_CONTROL_MESSAGES:
            raise TrunkError(f"{MAX_CONTROL_MESSAGES} control messages wait; the peer has stopped reading")
        self._control_messages += 1
        self._queue.append((_CONTROL, message))

    def put_sound(self, message: bytes) -> None:
        """Queue a `VOICE` or `AUDIO` message, or drop it if too many wait."""
        if self._queued_sound >= MAX_QUEUED_SOUND:
            self.sound_dropped += 1
            return
        self._queued_sound += 1
        self._queue.append((_SOUND, message))

    def put_frame(self, frame: Frame) -> bool:
        """Queue an encoded frame. Returns whether it was taken; a refused one means: send a keyframe next."""
        layer = (frame.channel, frame.layer)
        if layer in self._awaiting_keyframe and not frame.keyframe:
            self.frames_dropped += 1
            return False
        if self._queued_frames.get(layer, 0) >= MAX_QUEUED_FRAMES:
            self._awaiting_keyframe.add(layer)
            self.frames_dropped += 1
            return False
        self._awaiting_keyframe.discard(layer)
        self._queued_frames[layer] = self._queued_frames.get(layer, 0) + 1
        self._queue.append((layer, pack(frame)))
        return True

    def pop(self) -> bytes:
        """The next message to send; the queue must not be empty."""
        layer, message = self._queue.popleft()
        if layer == _SOUND:
            self._queued_sound -= 1
        elif layer == _CONTROL:
            self._control_messages -= 1
        else:
            self._queued_frames[layer] -= 1
        return message

    def forget(self, channel: int) -> None:
        """The channel is closed: drop its waiting frames."""
        self._queue = deque(entry for entry in self._queue if entry[0][0] != channel)
        self._queued_frames = {layer: count for layer, count in self._queued_frames.items() if layer[0] != channel}
        self._awaiting_keyframe = {layer for layer in self._awaiting_keyframe if layer[0] != channel}

    def clear(self) -> None:
        """The connection is gone: everything that waits is void."""
        self._queue.clear()
        self._queued_frames.clear()
        self._awaiting_keyframe.clear()
        self._control_messages = 0
        self._queued_sound = 0

"""What the people of one room say and hear, 20 ms at a time; no I/O and no clock of its own.

`take` collects what arrives and `plan` freezes it, both on the event loop; `render` decodes, mixes and encodes, and may
run in a worker thread, one call at a time. Each distinct mix is encoded once, however many people hear it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.permissions import may_be_heard
from broker.protocol import Mode
from render_farm.audio.mixer import FRAME_SAMPLES, MAX_SPEAKERS, SAMPLE_RATE_HZ, Listener, Mixer, Position
from render_farm.audio.opus import AudioError, OpusDecoder, OpusEncoder
from render_farm.world.mode import Person
from render_farm.world.world import World

TICK_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
SILENT_AFTER_S = 1.0
"""A room in which nobody has spoken for this long costs nothing until somebody does."""
MAX_WAITING_PACKETS = 8
"""Packets of one speaker between two ticks; more is a burst of which only the newest is of use."""
CODEC_IDLE_TICKS = 250
"""A decoder or encoder unused for five seconds is freed."""
EVERYBODY = ""
"""Stands for all who hear alike, in a room with a shared view; no participant has this name."""

_Codec = TypeVar("_Codec")


@dataclass(frozen=True, slots=True)
class Hearing:
    """Who hears and who may be heard in one tick, and what has arrived of their voices."""

    listeners: dict[str, Listener]
    speakers: dict[str, Position | None]
    packets: dict[str, list[bytes]]


@dataclass(frozen=True, slots=True)
class Sound:
    """20 ms of Opus and who hears it: `listeners`, or everybody in the room but those."""

    opus_frame: bytes
    listeners: frozenset[str]
    everybody_else: bool = False


class RoomAudio:
    """The voices of one room."""

    def __init__(self) -> None:
        self.mixer = Mixer()
        self.packets_malformed = 0
        self.packets_dropped = 0
        self._waiting: dict[str, deque[bytes]] = {}
        self._spoke_s: dict[str, float] = {}
        """When each who has spoken lately did so last."""
        self._decoders: _Shelf[OpusDecoder] = _Shelf()
        self._encoders: _Shelf[OpusEncoder] = _Shelf()

    def take(self, participant: str, packet: bytes, now: float) -> None:
        """A packet of somebody's voice has arrived."""
        if participant not in self._spoke_s and len(self._spoke_s) >= MAX_SPEAKERS:
            self.packets_dropped += 1
            return
        self._spoke_s[participant] = now
        waiting = self._waiting.setdefault(participant, deque(maxlen=MAX_WAITING_PACKETS))
        self.packets_dropped += len(waiting) == MAX_WAITING_PACKETS
        waiting.append(packet)

    def awake(self, now: float) -> bool:
        """Whether anybody has spoken within `SILENT_AFTER_S`."""
        return any(now - spoke_s < SILENT_AFTER_S for spoke_s in self._spoke_s.values())

    def plan(self, world: World, present: Iterable[str], now: float) -> Hearing:
        """Freeze who hears whom now; `present` are the participants with a viewer. Takes what has arrived."""
        self._spoke_s = {name: spoke_s for name, spoke_s in self._spoke_s.items() if now - spoke_s < SILENT_AFTER_S}
        waiting, self._waiting = self._waiting, {}
        packets = {name: list(arrived) for name, arrived in waiting.items()}
        speakers = {p.participant: _position(world, p) for p in world.people.values() if _is_heard(world, p)}
        return Hearing(_listeners(world, present, self._spoke_s), speakers, packets)

    def render(self, hearing: Hearing) -> list[Sound]:
        """Decode, mix and encode one tick: nothing for those who hear nothing."""
        for participant, packets in hearing.packets.items():
            if participant in hearing.speakers:
                self._decode(participant, packets)
        mixed = self.mixer.mix(hearing.listeners, hearing.speakers)
        groups: dict[int, list[str]] = {}
        for name in sorted(mixed):
            groups.setdefault(id(mixed[name]), []).append(name)
        sounds = []
        for names in groups.values():
            opus_frame = self._encoders.get(names[0], OpusEncoder).encode(mixed[names[0]])
            if opus_frame:
                sounds.append(_sound(opus_frame, names, hearing.listeners))
        self._decoders.tick()
        self._encoders.tick()
        return sounds

    def _decode(self, participant: str, packets: list[bytes]) -> None:
        decoder = self._decoders.get(participant, OpusDecoder)
        for packet in packets:
            try:
                frames = decoder.decode(packet)
            except AudioError:
                self.packets_malformed += 1
                continue
            for frame in frames:
                self.mixer.push(participant, frame)


def _listeners(world: World, present: Iterable[str], speaking: Iterable[str]) -> dict[str, Listener]:
    """Everybody with a camera of their own; before a shared one, all alike but those who must not hear themselves."""
    if world.mode is Mode.CONFERENCE:
        return dict.fromkeys([EVERYBODY, *(name for name in speaking if name in world.people)], Listener())
    people = [world.people[name] for name in present if name in world.people]
    return {person.participant: Listener(_position(world, person), person.yaw) for person in people}


def _position(world: World, person: Person) -> Position | None:
    return person.position if world.mode is Mode.EXPLORE else None


def _is_heard(world: World, person: Person) -> bool:
    return may_be_heard(person.role, world.mode, muted=person.muted)


def _sound(opus_frame: bytes, names: list[str], listeners: Iterable[str]) -> Sound:
    if EVERYBODY in names:
        return Sound(opus_frame, frozenset(listeners) - frozenset(names), everybody_else=True)
    return Sound(opus_frame, frozenset(names))


class _Shelf(Generic[_Codec]):
    """Codecs by name, each freed when it has not been used for `CODEC_IDLE_TICKS`."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Codec, int]] = {}
        self._now = 0

    def get(self, name: str, make: type[_Codec]) -> _Codec:
        kept = self._kept.get(name)
        codec = kept[0] if kept is not None else make()
        self._kept[name] = codec, self._now
        return codec

    def tick(self) -> None:
        self._now += 1
        if self._now % CODEC_IDLE_TICKS == 0:
            oldest = self._now - CODEC_IDLE_TICKS
            self._kept = {name: entry for name, entry in self._kept.items() if entry[1] >= oldest}

"""Who hears whom in a room, from Opus in to Opus out."""

import asyncio
import threading
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.protocol import Mode, Role, WorldParticipant
from render_farm.audio.mixer import FRAME_SAMPLES, MAX_SPEAKERS
from render_farm.audio.opus import OpusDecoder, OpusEncoder
from render_farm.audio.room_audio import MAX_WAITING_PACKETS, SILENT_AFTER_S, TICK_S, RoomAudio, Sound
from render_farm.audio_loop import TICK_US, AudioLoop
from render_farm.scene.library import SceneLibrary
from render_farm.world.world import World

SCENES = SceneLibrary(())


class Voice:
    """A participant's microphone: a tone in Opus."""

    def __init__(self, hertz: float, level: float = 0.3) -> None:
        self._encoder = OpusEncoder()
        self._hertz, self._level, self._sample = hertz, level, 0

    def packet(self) -> bytes:
        time_s = (self._sample + np.arange(FRAME_SAMPLES)) / 48_000
        self._sample += FRAME_SAMPLES
        mono = np.rint(self._level * 32_767 * np.sin(2 * np.pi * self._hertz * time_s)).astype(np.int16)
        return self._encoder.encode(np.stack([mono, mono], axis=1))


class Room:
    """A room with its people, played in virtual time."""

    def __init__(self, mode: Mode, people: dict[str, Role]) -> None:
        self.world = World("r", mode, SCENES.load("campus"))
        for index, (name, role) in enumerate(people.items()):
            self.put(name, role, seat=index if mode is Mode.CONFERENCE else None)
        self.audio = RoomAudio()
        self.voices: dict[str, Voice] = {}
        self.now = 10.0

    def put(self, name: str, role: Role = Role.VISITOR, *, muted: bool = False, seat: int | None = None) -> None:
        self.world.put_participant(
            WorldParticipant(participant=name, display_name=name, role=role, muted=muted, seat=seat)
        )

    def tick(self, speaking: Iterable[str] = ()) -> list[Sound]:
        for name in speaking:
            self.audio.take(name, self.voices[name].packet(), self.now)
        sounds = self.audio.render(self.audio.plan(self.world, list(self.world.people), self.now))
        self.now += TICK_S
        return sounds

    def play(self, hertz: dict[str, float], ticks: int = 25) -> list[list[Sound]]:
        self.voices = {name: Voice(frequency) for name, frequency in hertz.items()}
        return [self.tick(hertz) for _ in range(ticks)]


def heard_by(listener: str, ticks: list[list[Sound]]) -> NDArray[np.int16]:
    """What a listener's decoder makes of it; empty if nothing came."""
    decoder, frames = OpusDecoder(), [np.empty(0, np.int16)]
    for sounds in ticks:
        mine = [sound for sound in sounds if (listener in sound.listeners) is not sound.everybody_else]
        assert len(mine) <= 1, "one frame a tick and listener"
        frames += [frame for sound in mine for frame in decoder.decode(sound.opus_frame)]
    return np.concatenate(frames)


def share(signal: NDArray[np.int16], hertz: float) -> float:
    """How much of a tone is in a signal, as a share of full scale."""
    time_s = np.arange(len(signal)) / 48_000
    return float(2 * abs(np.mean(signal * np.exp(-2j * np.pi * hertz * time_s))) / 32_767) if len(signal) else 0.0


@pytest.mark.parametrize("mode", list(Mode))
def test_others_hear_a_voice_and_its_speaker_does_not(mode: Mode) -> None:
    room = Room(mode, {"ada": Role.SPEAKER, "bohr": Role.VISITOR, "curie": Role.SPECTATOR})
    ticks = room.play({"ada": 440.0})
    for listener in ("bohr", "curie"):
        assert share(heard_by(listener, ticks), 440.0) > 0.05
    assert len(heard_by("ada", ticks)) == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_two_who_speak_hear_each_other_and_not_themselves(mode: Mode) -> None:
    room = Room(mode, {"ada": Role.HOST, "bohr": Role.SPEAKER, "curie": Role.VISITOR})
    ticks = room.play({"ada": 440.0, "bohr": 1000.0})
    ada, bohr, curie = (heard_by(name, ticks) for name in ("ada", "bohr", "curie"))
    assert share(ada, 1000.0) > 0.05 > 0.01 > share(ada, 440.0)
    assert share(bohr, 440.0) > 0.05 > 0.01 > share(bohr, 1000.0)
    assert min(share(curie, 440.0), share(curie, 1000.0)) > 0.05


def test_hall_of_any_size_is_encoded_once_and_once_for_each_speaker() -> None:
    room = Room(Mode.CONFERENCE, {f"p{index}": Role.SPEAKER if index < 2 else Role.VISITOR for index in range(60)})
    ticks = room.play({"p0": 440.0, "p1": 1000.0}, ticks=5)
    assert [len(sounds) for sounds in ticks] == [3] * 5
    (common,) = (sound for sound in ticks[-1] if sound.everybody_else)
    assert common.listeners == {"p0", "p1"}


def test_speaker_whose_packets_come_late_still_does_not_hear_themself() -> None:
    room = Room(Mode.CONFERENCE, {"ada": Role.SPEAKER, "bohr": Role.VISITOR})
    room.voices = {"ada": Voice(440.0)}
    ticks = []
    for _ in range(10):
        ticks += [room.tick(["ada", "ada"]), room.tick()]
    assert len(heard_by("ada", ticks)) == 0
    assert len(heard_by("bohr", ticks)) == 20 * FRAME_SAMPLES


def test_conference_does_not_hear_a_visitor_until_given_the_floor() -> None:
    room = Room(Mode.CONFERENCE, {"ada": Role.VISITOR, "bohr": Role.VISITOR})
    assert len(heard_by("bohr", room.play({"ada": 440.0}))) == 0
    room.put("ada", Role.SPEAKER, seat=0)
    assert len(heard_by("bohr", room.play({"ada": 440.0}))) > 0


@pytest.mark.parametrize(("role", "muted"), [(Role.SPECTATOR, False), (Role.HOST, True)])
def test_spectators_and_muted_people_are_not_heard(role: Role, muted: bool) -> None:
    room = Room(Mode.EXPLORE, {"bohr": Role.VISITOR})
    room.put("ada", role, muted=muted)
    assert room.play({"ada": 440.0}) == [[]] * 25


def test_voice_of_somebody_far_away_is_not_sent() -> None:
    room = Room(Mode.EXPLORE, {"ada": Role.VISITOR, "bohr": Role.VISITOR})
    x, y, z = room.world.people["ada"].position
    room.world.people["bohr"].position = (x + 100.0, y, z)
    assert room.play({"ada": 440.0}) == [[]] * 25


def test_silence_is_not_sent_and_the_room_falls_asleep() -> None:
    room = Room(Mode.GALLERY, {"ada": Role.VISITOR, "bohr": Role.VISITOR})
    assert not room.audio.awake(room.now)
    room.voices = {"ada": Voice(440.0, level=0.0)}
    assert [room.tick(["ada"]) for _ in range(10)] == [[]] * 10
    assert room.audio.awake(room.now)
    room.now += SILENT_AFTER_S
    assert not room.audio.awake(room.now)


def test_packets_that_are_not_opus_are_counted_and_harm_nobody() -> None:
    room = Room(Mode.GALLERY, {"ada": Role.VISITOR, "bohr": Role.VISITOR})
    room.audio.take("bohr", b"", room.now)
    room.audio.take("nobody", b"\xff" * 40, room.now)
    ticks = room.play({"ada": 440.0})
    assert room.audio.packets_malformed == 1
    assert share(heard_by("bohr", ticks), 440.0) > 0.05


def test_what_waits_is_bounded() -> None:
    room = Room(Mode.GALLERY, {"ada": Role.VISITOR})
    for _ in range(MAX_WAITING_PACKETS + 3):
        room.audio.take("ada", b"x", room.now)
    for number in range(MAX_SPEAKERS):
        room.audio.take(f"p{number}", b"x", room.now)
    hearing = room.audio.plan(room.world, [], room.now)
    assert len(hearing.packets["ada"]) == MAX_WAITING_PACKETS
    assert len(hearing.packets) == MAX_SPEAKERS
    assert room.audio.packets_dropped == 4


async def test_loop_beats_on_a_grid_off_the_event_loop_and_rests_when_nobody_speaks() -> None:
    room = Room(Mode.GALLERY, {"ada": Role.VISITOR, "bohr": Role.VISITOR})
    voice, delivered = Voice(440.0), asyncio.Queue[tuple[list[Sound], int]]()
    threads: set[str] = set()

    class Watched(RoomAudio):
        def render(self, hearing):
            threads.add(threading.current_thread().name)
            return super().render(hearing)

    loop = AudioLoop(
        world_of=lambda name: room.world if name == "r" else None,
        present=lambda _: list(room.world.people),
        deliver=lambda _, sounds, time_us: delivered.put_nowait((sounds, time_us)),
    )
    loop.rooms["r"] = Watched()
    task = asyncio.create_task(loop.run())
    times = []
    async with asyncio.timeout(20):
        while len(times) < 5:
            loop.take("r", "ada", voice.packet())
            sounds, time_us = await delivered.get()
            if sounds:
                assert sounds[0].listeners == {"bohr"}
                times.append(time_us)
        loop.take("gone", "ada", voice.packet())
        while loop.rooms:
            await asyncio.sleep(0.01)
    assert all(time_us % TICK_US == 0 for time_us in times)
    assert times == sorted(set(times))
    assert loop.statistics.sounds >= len(times)
    assert len(loop.statistics.mix_ms) >= len(times)
    assert all(name.startswith("audio") for name in threads)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

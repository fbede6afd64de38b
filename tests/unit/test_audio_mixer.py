"""What people hear: louder when near, from the side the speaker is on, never themselves, never clipped."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from render_farm.audio.mixer import FRAME_SAMPLES, MAX_QUEUED_FRAMES, MAX_SPEAKERS, Listener, Mixer, attenuation
from render_farm.audio.opus import AudioError, OpusDecoder, OpusEncoder

HERE = Listener((0.0, 1.6, 0.0), 0.0)


def tone(hertz: float = 440.0, level: float = 0.3, start: int = 0) -> NDArray[np.int16]:
    time_s = (start * FRAME_SAMPLES + np.arange(FRAME_SAMPLES)) / 48_000
    return np.rint(level * 32_767 * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)


def levels(pcm: NDArray[np.int16]) -> tuple[float, float]:
    left, right = np.sqrt((pcm.astype(float) ** 2).mean(axis=0)) / 32_767
    return float(left), float(right)


def amplitude(signal: NDArray[np.int16], hertz: float) -> float:
    """How much of a tone is in a mono signal, as a share of full scale."""
    time_s = np.arange(len(signal)) / 48_000
    return 2 * abs(np.mean(signal * np.exp(-2j * np.pi * hertz * time_s))) / 32_767


def heard(listener: Listener, position: tuple[float, float, float] | None) -> tuple[float, float]:
    mixer = Mixer()
    mixer.push("speaker", tone())
    mixed = mixer.mix({"listener": listener}, {"speaker": position})
    return levels(mixed["listener"]) if mixed else (0.0, 0.0)


def test_voice_comes_from_the_side_its_speaker_is_on() -> None:
    left, right = heard(HERE, (3.0, 1.6, 0.0))
    assert right > 10 * left
    left, right = heard(HERE, (-3.0, 1.6, 0.0))
    assert left > 10 * right
    left, right = heard(HERE, (0.0, 1.6, -3.0))
    assert left == pytest.approx(right, rel=0.01)


def test_turning_left_moves_a_voice_ahead_to_the_right() -> None:
    left, right = heard(Listener((0.0, 1.6, 0.0), math.pi / 2), (0.0, 1.6, -3.0))
    assert right > 10 * left


def test_voice_fades_with_distance_until_it_is_gone() -> None:
    loudness = [sum(heard(HERE, (0.0, 1.6, -metres))) for metres in (1, 2, 4, 8, 16, 30, 39)]
    assert all(near > far > 0 for near, far in pairwise(loudness))
    assert heard(HERE, (0.0, 1.6, -41.0)) == (0.0, 0.0)
    assert attenuation(0.5) == 1.0


def test_power_does_not_depend_on_direction() -> None:
    powers = [
        sum(level**2 for level in heard(HERE, (5 * math.sin(angle), 1.6, 5 * math.cos(angle))))
        for angle in np.linspace(0, 6, 9)
    ]
    assert max(powers) == pytest.approx(min(powers), rel=0.02)


def test_someone_passing_through_the_listener_has_no_jump_between_ears() -> None:
    near = [heard(HERE, (x, 1.6, 0.0)) for x in (-0.05, 0.0, 0.05)]
    assert near[0][0] == pytest.approx(near[1][0], rel=0.15)
    assert near[2][1] == pytest.approx(near[1][1], rel=0.15)


def test_nobody_hears_their_own_voice() -> None:
    mixer = Mixer()
    mixer.push("ada", tone(440))
    mixer.push("bo", tone(1000))
    mixed = mixer.mix({"ada": Listener(), "bo": Listener(), "cy": Listener()}, {"ada": None, "bo": None})
    contains = {
        name: (amplitude(pcm[:, 0], 440) > 0.1, amplitude(pcm[:, 0], 1000) > 0.1) for name, pcm in mixed.items()
    }
    assert contains == {"ada": (False, True), "bo": (True, False), "cy": (True, True)}


def test_audience_of_a_conference_shares_one_mix() -> None:
    mixer = Mixer()
    mixer.push("host", tone())
    mixed = mixer.mix({f"p{number}": Listener() for number in range(1000)} | {"host": Listener()}, {"host": None})
    assert len(mixed) == 1000
    assert "host" not in mixed
    assert len({id(pcm) for pcm in mixed.values()}) == 1


def test_muted_and_silent_speakers_cost_and_send_nothing() -> None:
    mixer = Mixer()
    mixer.push("muted", tone())
    mixer.push("silent", np.zeros(FRAME_SAMPLES, np.int16))
    assert mixer.mix({"listener": Listener()}, {"silent": None}) == {}
    assert mixer.mix({"listener": Listener()}, {"silent": None, "muted": None}) == {}


def test_many_loud_voices_are_limited_without_clipping() -> None:
    mixer = Mixer()
    for number in range(12):
        mixer.push(f"s{number}", tone(300 + 40 * number, 0.9))
    pcm = mixer.mix({"listener": Listener()}, {f"s{number}": None for number in range(12)})["listener"]
    assert np.abs(pcm.astype(int)).max() <= 32_767
    assert np.abs(np.diff(pcm[:, 0].astype(int))).max() < 20_000, "no wrap-around"
    assert levels(pcm)[0] > 0.3


def test_quiet_mix_is_not_touched_by_the_limiter() -> None:
    mixer = Mixer()
    mixer.push("speaker", tone(level=0.5))
    pcm = mixer.mix({"listener": Listener()}, {"speaker": None})["listener"]
    assert np.abs(pcm[:, 0] - tone(level=0.5) * math.sqrt(0.5)).max() <= 1


def test_queue_of_a_speaker_keeps_the_newest_sixty_milliseconds() -> None:
    mixer = Mixer()
    for number in range(5):
        mixer.push("speaker", np.full(FRAME_SAMPLES, 1000 * (number + 1), np.int16))
    played = []
    while mixed := mixer.mix({"listener": Listener()}, {"speaker": None}):
        played.append(round(int(mixed["listener"][0, 0]) / math.sqrt(0.5) / 1000))
    assert played == [3, 4, 5]
    assert len(played) == MAX_QUEUED_FRAMES
    assert mixer.dropped_frames == 2


def test_number_of_speakers_is_bounded() -> None:
    mixer = Mixer()
    for number in range(MAX_SPEAKERS + 5):
        mixer.push(f"s{number}", tone())
    assert mixer.dropped_frames == 5


def test_moving_voice_glides_instead_of_clicking() -> None:
    mixer = Mixer()
    steady = np.full(FRAME_SAMPLES, 8000, np.int16)
    joined = []
    for x in (-4.0, 4.0, 4.0):
        mixer.push("speaker", steady)
        joined.append(mixer.mix({"listener": HERE}, {"speaker": (x, 1.6, 0.0)})["listener"])
    steps = np.abs(np.diff(np.concatenate(joined).astype(int), axis=0))
    assert steps.max() < 20


def test_frame_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(960,\)"):
        Mixer().push("speaker", np.zeros(480, np.int16))
    with pytest.raises(ValueError, match="float64"):
        Mixer().push("speaker", np.zeros(960))


def test_opus_carries_left_and_right_apart() -> None:
    encoder, decoder = OpusEncoder(96_000), OpusDecoder()
    received = []
    for start in range(25):
        packet = encoder.encode(np.stack([tone(440, 0.4, start), tone(1500, 0.1, start)], axis=1))
        assert 0 < len(packet) <= 1275
        frames = decoder.decode(packet)
        assert [frame.shape for frame in frames] == [(FRAME_SAMPLES,)]
        received += frames
    signal = np.concatenate(received[10:])
    assert amplitude(signal, 440) == pytest.approx(0.2, rel=0.25)
    assert amplitude(signal, 1500) == pytest.approx(0.05, rel=0.35)


def test_what_is_not_opus_is_refused_and_does_no_harm() -> None:
    decoder, encoder = OpusDecoder(), OpusEncoder()
    random = np.random.default_rng(3)
    for size in (0, 1501):
        with pytest.raises(AudioError, match=str(size)):
            decoder.decode(bytes(size))
    for _ in range(300):
        noise = random.integers(0, 256, int(random.integers(1, 200)), np.uint8).tobytes()
        try:
            frames = decoder.decode(noise)
        except AudioError:
            continue
        assert all(frame.shape == (FRAME_SAMPLES,) for frame in frames)
        assert len(frames) <= 6
    for start in range(10):
        frames = decoder.decode(encoder.encode(np.stack([tone(440, 0.4, start)] * 2, axis=1)))
    assert amplitude(frames[-1], 440) > 0.2


def test_encoder_refuses_other_shapes() -> None:
    with pytest.raises(AudioError, match=r"\(960, 2\)"):
        OpusEncoder().encode(np.zeros((960, 1), np.int16))

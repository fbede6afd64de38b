import asyncio

import msgspec
import numpy as np
import pytest

from broker import protocol
from broker.protocol import (
    DropSession,
    EndReason,
    Mode,
    PutSession,
    Role,
    SessionState,
    TellViewers,
    ViewerConnected,
)
from broker.protocol.report_batch import ReportBatch
from edge.audience import PUBLISHED_PICTURES_PER_S
from edge.engine import VIEWER_STATISTICS, MediaFrame, PublishedPicture
from edge.hub import MAX_HELD_MESSAGES, PUBLISHER_STALLED_S, StreamHub
from edge.trunk import Flag, Frame, Kind, LayerDescription, StreamOpen, ViewerAudio, ViewerEvent


class Engine:
    """Records what the hub asks of the engine."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, MediaFrame]] = []
        self.messages: list[tuple[str, protocol.ClientEvent]] = []
        self.sounds: list[tuple[str, bytes, int]] = []
        self.closed: list[str] = []
        self.rows: list[dict] = []
        self.layers: list[tuple[str, list[float]]] = []
        self.starts_requested: list[tuple[str, int]] = []

    def send(self, stream: str, frame: MediaFrame) -> None:
        self.sent.append((stream, frame))

    def send_message(self, sessions, channel: str, data: bytes) -> None:
        self.messages += [(session, protocol.decode_client_event(data)) for session in sessions]

    def send_audio(self, session: str, opus_frame: bytes, timestamp: int) -> None:
        self.sounds.append((session, opus_frame, timestamp))

    def set_layers(self, stream: str, bitrates_bps) -> None:
        self.layers.append((stream, list(bitrates_bps)))

    def request_picture_start(self, session: str, layer: int) -> None:
        self.starts_requested.append((session, layer))

    def statistics(self):
        table = np.zeros(len(self.rows), VIEWER_STATISTICS)
        table["estimate_bps"] = table["measured_bps"] = np.nan
        for row, known in zip(table, self.rows, strict=True):
            for name, value in known.items():
                row[name] = value
        return table

    async def close(self, session: str) -> None:
        self.closed.append(session)


class Trunk:
    """Records what the hub tells a source."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple]] = []

    def __getattr__(self, name: str):
        return lambda *details: self.calls.append((name, details))

    def called(self, name: str) -> list[tuple]:
        return [details for called, details in self.calls if called == name]


class Farm:
    """A hub with one session on one stream, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[protocol.AgentMessage | ReportBatch] = []
        self.hub = StreamHub(lambda: self.now, self.told.append)
        self.engine = self.hub.engine = Engine()
        self.trunk = Trunk()
        self.put()

    def put(
        self,
        session: str = "s1",
        *,
        fence: int = 1,
        state=SessionState.CONNECTING,
        muted: bool = False,
        role=Role.VISITOR,
        mode=Mode.EXPLORE,
        publishes: bool = False,
    ) -> None:
        self.hub.put_session(
            PutSession(
                session=session,
                participant=f"p-{session}",
                room="r",
                mode=mode,
                role=role,
                muted=muted,
                stream="v1",
                fence=fence,
                codec=protocol.Codec.H264,
                profile=None,
                state=state,
                publishes=publishes,
            )
        )

    def open(self, channel: int = 1, fence: int = 1, trunk: Trunk | None = None, layers=()) -> str | None:
        return self.hub.on_open(trunk or self.trunk, channel, StreamOpen(stream="v1", fence=fence, layers=list(layers)))

    def frame(
        self, sequence: int, *, keyframe: bool = False, channel: int = 1, shows: int = 0, trunk=None, layer: int = 0
    ) -> None:
        flags = Flag.KEYFRAME if keyframe else 0
        frame = Frame(Kind.FRAME, channel, b"x", flags, sequence, layer, 0, int(self.now * 1e6), shows)
        self.hub.on_frame(trunk or self.trunk, frame)

    def message(self, message: protocol.ClientMessage, session: str = "s1") -> None:
        self.hub.on_message(session, "control", msgspec.json.encode(message))


@pytest.fixture
def farm() -> Farm:
    return Farm()


def test_input_leaves_for_the_owner_before_the_call_returns(farm: Farm) -> None:
    farm.open()
    farm.message(protocol.Input(seq=4, move_z=1.0))
    ((channel, viewer_input),) = farm.trunk.called("send_input")
    assert channel == 1
    assert (viewer_input.session, viewer_input.participant) == ("s1", "p-s1")
    assert protocol.decode_client_message(viewer_input.body) == protocol.Input(seq=4, move_z=1.0)


def test_picture_reaches_the_engine_once_however_many_watch(farm: Farm) -> None:
    farm.put("s2")
    farm.open()
    farm.frame(1, keyframe=True)
    assert [stream for stream, _ in farm.engine.sent] == ["v1"]


def test_zombie_node_cannot_show_its_picture(farm: Farm) -> None:
    farm.put(fence=5)
    assert "older" in (farm.open(fence=4) or "")
    farm.frame(1, keyframe=True)
    assert farm.engine.sent == []


def test_replacement_gets_the_retained_state_and_the_viewers(farm: Farm) -> None:
    farm.open()
    farm.hub.on_connected("s1")
    farm.hub.on_state(farm.trunk, 1, b"pose")
    successor = Trunk()
    farm.put(fence=2, state=SessionState.REPLACING)
    farm.hub.on_close(farm.trunk, 1, "connection lost")
    farm.open(fence=2, trunk=successor)
    assert successor.called("accept") == [(1, b"pose")]
    ((_, viewer),) = successor.called("send_viewer")
    assert (viewer.session, viewer.fresh) == ("s1", False)


def test_what_is_said_while_there_is_no_source_reaches_the_next_one(farm: Farm) -> None:
    farm.hub.on_connected("s1")
    farm.hub.on_channel_open("s1", "control")
    farm.message(protocol.RaiseHand(raised=True))
    farm.message(protocol.Input(seq=1, yaw=0.1))
    farm.message(protocol.Input(seq=2, yaw=0.2))
    farm.open()
    ((_, viewer),) = farm.trunk.called("send_viewer")
    assert viewer.fresh, "its client counts from zero, and no source has been told so far"
    said = [protocol.decode_client_message(entry.body) for _, entry in farm.trunk.called("send_input")]
    assert said == [protocol.RaiseHand(raised=True), protocol.Input(seq=2, yaw=0.2)]
    successor = Trunk()
    farm.open(fence=2, trunk=successor)
    ((_, viewer),) = successor.called("send_viewer")
    assert not viewer.fresh
    assert successor.called("send_input") == [], "said once"


def test_what_is_said_while_there_is_no_source_is_bounded_and_ends_with_the_viewer(farm: Farm) -> None:
    farm.hub.on_connected("s1")
    for _ in range(MAX_HELD_MESSAGES + 1):
        farm.message(protocol.Chat(text="hello?"))
    ((_, refused),) = farm.engine.messages
    assert isinstance(refused, protocol.Refused)
    assert refused.reason == "too_many"
    farm.hub.on_gone("s1", EndReason.CONNECTION_LOST)
    farm.hub.on_connected("s1")
    farm.open()
    assert farm.trunk.called("send_input") == []


def test_viewer_is_told_of_a_replacement_and_of_its_end(farm: Farm) -> None:
    farm.put(state=SessionState.REPLACING, fence=2)
    farm.put(state=SessionState.LIVE, fence=2)
    states = [event.state for _, event in farm.engine.messages if isinstance(event, protocol.SourceState)]
    assert states == [SessionState.REPLACING, SessionState.LIVE]


def test_superseded_source_is_refused_at_the_switch(farm: Farm) -> None:
    farm.open()
    farm.frame(1, keyframe=True)
    successor = Trunk()
    farm.open(fence=2, trunk=successor)
    farm.frame(1, keyframe=True, trunk=successor)
    assert len(farm.trunk.called("refuse")) == 1
    assert farm.hub.counters.source_switches == 1
    assert len(farm.engine.sent) == 2


def test_ping_is_answered_by_the_edge_itself(farm: Farm) -> None:
    farm.message(protocol.Ping(id=9))
    assert farm.engine.messages == [("s1", protocol.Pong(id=9))]
    assert farm.trunk.called("send_input") == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"type":"fly"}',
        b'{"type":"input","seq":-1}',
        b'{"type":"input","seq":1,"yaw":NaN}',
        b'{"type":"input","seq":1,"move_x":7}',
        b'{"type":"input","seq":1,"colour":1}',
        b'{"type":"chat","text":"' + b"x" * 5000 + b'"}',
        b"\xff\xfe",
    ],
)
def test_malformed_message_is_counted_and_answered_and_goes_no_further(farm: Farm, data: bytes) -> None:
    farm.open()
    farm.hub.on_message("s1", "control", data)
    assert farm.hub.counters.messages_malformed == 1
    ((session, event),) = farm.engine.messages
    assert session == "s1"
    assert isinstance(event, protocol.Refused)
    assert event.reason == "malformed"
    assert farm.trunk.called("send_input") == []


def test_flood_of_messages_is_limited_and_harms_nobody_else(farm: Farm) -> None:
    farm.put("s2")
    farm.open()
    for number in range(2000):
        farm.message(protocol.Input(seq=number))
    assert len(farm.trunk.called("send_input")) == protocol.MAX_CLIENT_MESSAGES_PER_S
    farm.message(protocol.Input(seq=1), "s2")
    assert farm.trunk.called("send_input")[-1][1].session == "s2"


def test_nobody_watching_is_told_to_the_source_at_once(farm: Farm) -> None:
    farm.open()
    farm.hub.on_connected("s1")
    farm.hub.on_gone("s1", EndReason.CONNECTION_LOST)
    ((_, gone),) = farm.trunk.called("send_viewer")
    assert (gone.session, gone.present) == ("s1", False)
    assert [feedback.viewers for _, feedback in farm.trunk.called("send_feedback")] == [0, 1, 0]


def test_dropped_session_is_told_why_and_freed(farm: Farm) -> None:
    asyncio.run(farm.hub.drop_session(DropSession(session="s1", reason=EndReason.REMOVED)))
    assert farm.engine.messages == [("s1", protocol.Ended(reason=EndReason.REMOVED))]
    assert farm.engine.closed == ["s1"]
    assert farm.hub.session("s1") is None


@pytest.mark.parametrize(
    ("addressed", "reached"),
    [
        ({}, ["s1", "s2", "s3"]),
        ({"roles": [Role.HOST, Role.SPEAKER]}, ["s2", "s3"]),
        ({"sessions": ["s1", "s2", "gone"]}, ["s1", "s2"]),
        ({"sessions": ["s1", "s2"], "roles": [Role.HOST]}, ["s2"]),
        ({"sessions": []}, []),
        ({"room": "another"}, []),
    ],
)
def test_what_the_broker_has_told_reaches_those_it_is_for_and_no_publisher(farm: Farm, addressed, reached) -> None:
    farm.put("s2", role=Role.HOST)
    farm.put("s3", role=Role.SPEAKER)
    farm.put("s4", role=Role.SPEAKER, publishes=True)
    for session in ("s1", "s2", "s3", "s4"):
        farm.hub.on_connected(session)
        farm.hub.on_channel_open(session, "control")
    event = protocol.RoomData(topic="news", value={"text": "\u4e09", "of": [1, None]}, sender="p-s2")
    farm.hub.tell_viewers(TellViewers(**({"room": "r", "event": event} | addressed)))
    assert farm.engine.messages == [(session, event) for session in reached]


def test_what_is_told_before_a_viewers_channel_is_open_waits_for_it_within_bounds(farm: Farm) -> None:
    farm.hub.on_connected("s1")
    events = [protocol.RoomData(topic=f"n{number}", value=number) for number in range(MAX_HELD_MESSAGES + 2)]
    for event in events:
        farm.hub.tell_viewers(TellViewers(room="r", event=event))
    assert farm.engine.messages == []
    farm.hub.on_channel_open("s1", "control")
    assert farm.engine.messages == [("s1", event) for event in events[:MAX_HELD_MESSAGES]]
    farm.hub.tell_viewers(TellViewers(room="r", event=events[-1]))
    assert farm.engine.messages[-1] == ("s1", events[-1])
    farm.hub.on_gone("s1", EndReason.CONNECTION_LOST)
    farm.hub.on_connected("s1")
    farm.hub.tell_viewers(TellViewers(room="r", event=events[0]))
    assert len(farm.engine.messages) == MAX_HELD_MESSAGES + 1


def test_event_for_one_goes_to_one_and_only_within_the_stream(farm: Farm) -> None:
    farm.put("s2")
    farm.open()
    body = msgspec.Raw(protocol.encode(protocol.Pong(id=1)))
    farm.hub.on_event(farm.trunk, 1, ViewerEvent(body=body, session="s2"))
    farm.hub.on_event(farm.trunk, 1, ViewerEvent(body=body, session="elsewhere"))
    assert [session for session, _ in farm.engine.messages] == ["s2"]
    farm.hub.on_event(farm.trunk, 1, ViewerEvent(body=body))
    assert sorted(session for session, _ in farm.engine.messages) == ["s1", "s2", "s2"]


def test_muted_participants_voice_does_not_pass(farm: Farm) -> None:
    farm.open()
    farm.hub.on_voice("s1", b"opus")
    farm.put(muted=True)
    farm.hub.on_voice("s1", b"opus")
    assert len(farm.trunk.called("send_voice")) == 1


def test_spectators_voice_does_not_pass(farm: Farm) -> None:
    farm.open()
    farm.put(role=Role.SPECTATOR)
    farm.hub.on_voice("s1", b"opus")
    assert farm.trunk.called("send_voice") == []


def test_conference_hears_speakers_and_hosts_only(farm: Farm) -> None:
    farm.open()
    heard = []
    for role in Role:
        farm.put(role=role, mode=Mode.CONFERENCE)
        before = len(farm.trunk.called("send_voice"))
        farm.hub.on_voice("s1", b"opus")
        if len(farm.trunk.called("send_voice")) > before:
            heard.append(role)
    assert set(heard) == {Role.SPEAKER, Role.HOST}


def test_sound_goes_to_those_it_is_for_and_only_if_they_are_connected(farm: Farm) -> None:
    for session in ("s2", "s3"):
        farm.put(session)
    farm.open()
    for session in ("s1", "s2"):
        farm.hub.on_connected(session)
    farm.hub.on_audio(farm.trunk, 1, ViewerAudio(b"all", 20_000, frozenset({"s1"}), everybody_else=True))
    farm.hub.on_audio(farm.trunk, 1, ViewerAudio(b"own", 20_000, frozenset({"s1", "elsewhere"})))
    assert farm.engine.sounds == [("s2", b"all", 960), ("s1", b"own", 960)]


def test_sound_goes_on_rising_when_a_node_with_a_slower_clock_takes_over(farm: Farm) -> None:
    farm.open()
    farm.hub.on_connected("s1")
    farm.hub.on_audio(farm.trunk, 1, ViewerAudio(b"a", 2_000_000, everybody_else=True))
    successor = Trunk()
    farm.put(fence=2)
    farm.open(fence=2, trunk=successor)
    farm.hub.on_audio(farm.trunk, 1, ViewerAudio(b"zombie", 2_020_000, everybody_else=True))
    for tick in range(2):
        farm.hub.on_audio(successor, 1, ViewerAudio(b"b", 1_000_000 + tick * 20_000, everybody_else=True))
    assert [(frame, timestamp) for _, frame, timestamp in farm.engine.sounds] == [
        (b"a", 96_000),
        (b"b", 96_960),
        (b"b", 97_920),
    ]


def test_report_joins_what_was_measured_and_what_the_client_claims(farm: Farm) -> None:
    farm.hub.on_connected("s1")
    farm.message(protocol.ClientReport(frames_per_s=29.5, freezes=2))
    farm.engine.rows = [
        {"session": "s1", "rtt_ms": 12.5, "jitter_ms": 3.0, "reports": 1, "sent_bytes": 250_000, "packets_sent": 200}
    ]
    farm.hub.tick(1.0)
    assert isinstance(farm.told[0], ViewerConnected)
    (report,) = next(message for message in farm.told if isinstance(message, ReportBatch)).reports()
    assert (report.rtt_ms, report.loss, report.frames_per_s, report.freezes) == (12.5, 0.0, 29.5, 2)
    assert report.sent_bps == pytest.approx(2e6)


def test_viewer_who_cannot_decode_has_the_source_asked_for_a_keyframe(farm: Farm) -> None:
    farm.open()
    farm.frame(1, keyframe=True)
    farm.now += 5.0
    asked = len(farm.trunk.called("request_keyframe"))
    farm.hub.on_keyframe_needed("v1", 0)
    assert len(farm.trunk.called("request_keyframe")) == asked + 1
    farm.hub.on_keyframe_needed("nobody's", 0)


@pytest.mark.parametrize("counter", ["repeats_refused", "nacks", "freezes"])
def test_what_a_viewer_suffers_is_counted_over_its_connections(farm: Farm, counter: str) -> None:
    farm.hub.on_connected("s1")
    for value in (3, 5, 5, 2):
        farm.engine.rows = [{"session": "s1", counter: value}]
        farm.hub.tick(1.0)
    assert getattr(farm.hub.counters, counter) == 5 + 2, "the last connection counts from zero"


def test_layer_a_viewer_is_shown_is_reported_and_counted_and_publishers_apart(farm: Farm) -> None:
    farm.put("s2")
    farm.put("cam", role=Role.SPEAKER, mode=Mode.CONFERENCE, publishes=True)
    for name in ("s1", "s2", "cam"):
        farm.hub.on_connected(name)
    farm.engine.rows = [{"session": "s1", "layer": 2, "wanted_layer": 2}]
    farm.hub.tick(1.0)
    (told,) = [message for message in farm.told if isinstance(message, ReportBatch)]
    assert [report.layer for report in told.reports()] == [2]
    assert farm.hub.viewers_by_layer() == {2: 1}, "of the other nothing is known yet"
    assert (farm.hub.viewers, farm.hub.publishers) == (3, 1)


def test_inputs_are_timed_to_the_first_packet_that_shows_them(farm: Farm) -> None:
    farm.open()
    farm.frame(1, keyframe=True)
    farm.message(protocol.Input(seq=5))
    farm.now += 0.010
    farm.message(protocol.Input(seq=6))
    farm.now += 0.010
    farm.frame(2, shows=6)
    farm.now += 0.001
    farm.hub.on_picture_leaving("v1", farm.engine.sent[-1][1].timestamp)
    assert list(farm.hub.input_to_packet_ms) == pytest.approx([21.0, 11.0])


# --- Simulcast ------------------------------------------------------------------------------------------

LAYERS = [
    LayerDescription(width=320, height=180, max_bitrate_bps=200_000),
    LayerDescription(width=640, height=360, max_bitrate_bps=800_000),
    LayerDescription(width=1280, height=720, max_bitrate_bps=3_000_000),
]


def test_engine_learns_the_layers_of_what_is_shown_when_it_is_shown(farm: Farm) -> None:
    farm.open(layers=LAYERS)
    assert farm.engine.layers == []
    farm.frame(1, keyframe=True, layer=2)
    assert farm.engine.layers == [("v1", [200_000, 800_000, 1_040_000])]
    farm.put(fence=2)
    farm.open(fence=2, trunk=(plain := Trunk()))
    farm.frame(1, keyframe=True, trunk=plain)
    assert farm.engine.layers[-1] == ("v1", [])


def test_every_layer_reaches_the_engine_as_what_it_is(farm: Farm) -> None:
    farm.open(layers=LAYERS)
    for layer in range(3):
        farm.frame(1, keyframe=True, layer=layer)
    farm.frame(1, keyframe=True, layer=3)
    assert [frame.layer for _, frame in farm.engine.sent] == [0, 1, 2]
    assert len({frame.timestamp for _, frame in farm.engine.sent}) == 1


def test_source_is_told_how_many_want_each_layer(farm: Farm) -> None:
    for name in ("s2", "s3"):
        farm.put(name)
    farm.open(layers=LAYERS)
    for name in ("s1", "s2", "s3"):
        farm.hub.on_connected(name)
    farm.engine.rows = [
        {"session": name, "wanted_layer": layer, "measured_bps": bps}
        for name, layer, bps in (("s1", 0, 300_000), ("s2", 2, 2e6), ("s3", 2, 9e6))
    ]
    farm.hub.tick(1.0)
    _, feedback = farm.trunk.called("send_feedback")[-1]
    assert (feedback.viewers, feedback.layers) == (3, [1, 0, 2])
    assert feedback.bitrate_bps == pytest.approx(1.8e6), "the slower of the two that get the highest"


def test_keyframe_of_a_layer_is_asked_for_as_that(farm: Farm) -> None:
    farm.open(layers=LAYERS)
    farm.frame(1, keyframe=True, layer=1)
    farm.hub.on_keyframe_needed("v1", 1)
    assert farm.trunk.called("request_keyframe")[-1] == (1, 1)


# --- Publishers -----------------------------------------------------------------------------------------


class Camera:
    """A session that publishes the stage."""

    def __init__(self, farm: Farm, encodings: int = 1) -> None:
        self.farm, self.sequence = farm, 0
        farm.put("cam", role=Role.SPEAKER, mode=Mode.CONFERENCE, publishes=True)
        farm.hub.publish("cam", encodings)
        farm.hub.on_connected("cam")

    def picture(self, *, keyframe: bool = False, layer: int = 0, payload: bytes = b"cam") -> None:
        self.sequence += 1
        capture_time_us = int(self.farm.now * 1e6)
        self.farm.hub.on_published("cam", PublishedPicture(payload, keyframe, layer, self.sequence, capture_time_us))


@pytest.fixture
def camera(farm: Farm) -> Camera:
    farm.open()
    farm.frame(1, keyframe=True)
    farm.hub.on_connected("s1")
    return Camera(farm)


def payloads(farm: Farm) -> list[bytes]:
    return [bytes(frame.payload) for _, frame in farm.engine.sent]


def test_published_picture_is_shown_instead_of_the_nodes(farm: Farm, camera: Camera) -> None:
    camera.picture()
    assert payloads(farm) == [b"x"], "not before its keyframe"
    camera.picture(keyframe=True)
    farm.frame(2, keyframe=True)
    assert payloads(farm) == [b"x", b"cam"]


def test_what_a_publisher_sends_is_reported(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True, payload=bytes(1_000))
    farm.hub.tick(1.0)
    (told,) = [message for message in farm.told if isinstance(message, ReportBatch)]
    assert [(report.session, report.received_bps, report.frames_per_s) for report in told.reports()] == [
        ("cam", 8e3, 1.0)
    ]


def test_node_is_told_that_nobody_needs_its_picture_and_told_again_when_they_do(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True)
    assert farm.trunk.called("send_feedback")[-1][1].viewers == 0
    farm.now += 1.0
    farm.hub.on_gone("cam", EndReason.CONNECTION_LOST)
    assert farm.trunk.called("send_feedback")[-1][1].viewers == 1
    assert farm.trunk.called("request_keyframe")[-1] == (1, 0)
    farm.frame(2, keyframe=True)
    assert payloads(farm)[-1] == b"x"


def test_publisher_is_no_viewer(farm: Farm, camera: Camera) -> None:
    farm.open(2, fence=2, trunk=(successor := Trunk()))
    assert [viewer.session for _, viewer in successor.called("send_viewer")] == ["s1"]
    farm.hub.on_audio(successor, 2, ViewerAudio(b"opus", 1_000_000, frozenset(), everybody_else=True))
    assert [session for session, _, _ in farm.engine.sounds] == ["s1"]
    farm.hub.on_gone("cam", EndReason.LEFT)
    assert all(viewer.session != "cam" for _, viewer in successor.called("send_viewer"))


def test_input_goes_to_the_node_while_somebody_publishes(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True)
    farm.message(protocol.RaiseHand(raised=True))
    assert farm.trunk.called("send_input")


def test_sound_of_a_publisher_goes_to_the_node_as_its_voice(farm: Farm, camera: Camera) -> None:
    farm.hub.on_voice("cam", b"opus")
    assert farm.trunk.called("send_voice") == [(1, "p-cam", b"opus")]


def test_publisher_is_asked_for_a_keyframe_when_a_viewer_needs_one(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True)
    farm.engine.starts_requested.clear()
    farm.now += 1.0
    farm.hub.on_keyframe_needed("v1", 0)
    assert farm.engine.starts_requested == [("cam", 0)]


def test_publisher_that_stalls_leaves_the_stage_and_its_next_keyframe_brings_it_back(
    farm: Farm, camera: Camera
) -> None:
    camera.picture(keyframe=True)
    farm.now += PUBLISHER_STALLED_S + 0.1
    farm.hub.tick(1.0)
    assert farm.trunk.called("send_feedback")[-1][1].viewers == 1
    farm.frame(2, keyframe=True)
    assert payloads(farm)[-1] == b"x"
    camera.picture()
    assert payloads(farm)[-1] == b"x"
    camera.picture(keyframe=True)
    assert payloads(farm)[-1] == b"cam"


def test_dropped_publisher_leaves_the_stage(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True)
    asyncio.run(farm.hub.drop_session(DropSession(session="cam", reason=EndReason.REMOVED)))
    assert farm.engine.closed == ["cam"]
    camera.picture(keyframe=True)
    farm.frame(2, keyframe=True)
    assert payloads(farm) == [b"x", b"cam", b"x"]


def test_simulcast_of_a_publisher_becomes_layers_and_is_asked_for_by_its_own_number(farm: Farm) -> None:
    camera = Camera(farm, encodings=2)
    header = b"\0\0\1\x67"
    camera.picture(keyframe=True, layer=0, payload=header)
    camera.picture(keyframe=True, layer=1, payload=header)
    camera.sequence = 0
    camera.picture(keyframe=True, layer=1, payload=header)
    assert [frame.layer for _, frame in farm.engine.sent] == [0, 1, 1]
    assert farm.engine.layers[-1][0] == "v1"
    assert len(farm.engine.layers[-1][1]) == 2


def test_picture_of_an_encoding_that_was_not_offered_is_dropped(farm: Farm, camera: Camera) -> None:
    camera.picture(keyframe=True, layer=1)
    assert payloads(farm) == [b"x"]


def test_publisher_that_floods_with_pictures_is_slowed_down(farm: Farm, camera: Camera) -> None:
    for _ in range(1000):
        camera.picture(keyframe=True)
    assert payloads(farm).count(b"cam") <= PUBLISHED_PICTURES_PER_S
    farm.now += 1.0
    camera.picture(keyframe=True)
    assert payloads(farm)[-1] == b"cam"


def test_picture_of_a_session_that_does_not_publish_is_dropped(farm: Farm) -> None:
    farm.hub.on_published("s1", PublishedPicture(b"y", True, 0, 1, 1))
    farm.hub.on_published("nobody", PublishedPicture(b"y", True, 0, 1, 1))
    assert payloads(farm) == []

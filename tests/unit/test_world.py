import math

import numpy as np
import pytest

from broker.protocol import (
    Chat,
    ChatLine,
    Input,
    Mode,
    RaiseHand,
    Refused,
    Role,
    Roster,
    RosterJoined,
    RosterLeft,
    RosterTotal,
    SelectExhibit,
    StageCamera,
    WorldParticipant,
)
from render_farm.scene import model
from render_farm.scene.model import Exhibit, Geometry, Places, Scene
from render_farm.world.walking import BODY_RADIUS_M, WALK_M_PER_S, walk
from render_farm.world.world import HELD_INPUT_EXPIRES_S, REST_AFTER_S, World

PLACES = Places(
    bounds=(-50.0, -50.0, 50.0, 50.0),
    spawns=np.array([[0, 0, 0, 0], [2, 0, 0, 0]], np.float32),
    seats=np.array([[n, 0, 10, 0] for n in range(20)], np.float32),
    walls=np.array([[-5, -6, 5, -5]], np.float32),
    exhibits=(Exhibit("vase", {"en": "Vase"}, (0, 1, -20), 0.5), Exhibit("bell", {"en": "Bell"}, (9, 1, -20), 1.0)),
    stage_cameras=(
        model.StageCamera("stage", (0, 4, 30), 0.0, -0.1),
        model.StageCamera("lectern", (5, 2, 5), 1.0, 0.0),
    ),
)
GEOMETRY = Geometry((), (), (), np.zeros(0, np.uint32), np.zeros((0, 4, 4), np.float32))
SCENE = Scene("test", PLACES, GEOMETRY)


def world(mode: Mode, **people: Role) -> World:
    made = World("room", mode, SCENE)
    for index, (name, role) in enumerate(people.items()):
        seat = index if mode is Mode.CONFERENCE else None
        made.put_participant(WorldParticipant(participant=name, display_name=name.title(), role=role, seat=seat))
        made.viewer_arrived(name, fresh=True)
    made.take_events()
    return made


def hold(target: World, who: str, seconds: float, now: float = 0.0, seq: int = 1, **hands) -> float:
    """Hold the hands so for a while, repeated as a client does; returns the time after."""
    target.step(now)
    end = now + seconds
    while now < end - 1e-9:
        target.take(who, Input(seq=seq, **hands), now)
        seq += 1
        now += 1 / 30
        target.step(now)
    return now


def test_walking_forward_goes_where_the_camera_looks() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    hold(room, "ann", 1.0, move_z=1.0, yaw=math.pi / 2)
    x, _, z = room.people["ann"].position
    assert x == pytest.approx(-WALK_M_PER_S, rel=0.1)
    assert z == pytest.approx(0.0, abs=0.1)
    assert room.camera("ann").position[0] == pytest.approx(x)


def test_walls_stop_and_let_slide() -> None:
    held = Input(seq=1, move_z=1.0, move_x=0.3, run=True)
    position = walk((0.0, 0.0, 0.0), 0.0, held, 3.0, PLACES)
    assert position[2] >= -5 + BODY_RADIUS_M - 1e-6
    assert position[0] > 2.0


def test_nobody_leaves_the_bounds() -> None:
    position = walk((0.0, 0.0, 0.0), math.pi, Input(seq=1, move_z=1.0, run=True), 1000.0, PLACES)
    assert position[2] <= 50.0


def test_client_that_falls_silent_stops_walking() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    now = hold(room, "ann", 0.2, move_z=1.0)
    for _ in range(300):
        now += 1 / 30
        room.step(now)
    assert abs(room.people["ann"].position[2]) < WALK_M_PER_S * (HELD_INPUT_EXPIRES_S + 0.5)


def test_late_input_does_not_undo_a_newer_one() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    room.take("ann", Input(seq=8, yaw=1.0), 0.0)
    room.take("ann", Input(seq=7, yaw=0.5), 0.1)
    assert room.camera("ann").yaw == pytest.approx(1.0)
    assert room.input_sequence("ann") == 8


def test_reloaded_page_goes_on_where_it_looked() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    room.take("ann", Input(seq=500, yaw=1.0), 0.0)
    room.viewer_arrived("ann", fresh=True)
    room.take("ann", Input(seq=1, yaw=0.25), 0.2)
    assert room.camera("ann").yaw == pytest.approx(1.25)


def test_others_see_avatars_with_names_where_they_walk() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR, bob=Role.VISITOR)
    hold(room, "bob", 1.0, move_z=1.0)
    seen = room.avatars()
    assert seen.names == ("Ann", "Bob")
    bob = seen.ids.index("bob")
    assert seen.positions[bob, 2] == pytest.approx(-WALK_M_PER_S, rel=0.1)


def test_avatar_of_a_lost_connection_is_not_left_standing() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR, bob=Role.VISITOR)
    hold(room, "bob", 1.0, move_z=1.0)
    stood = room.people["bob"].position
    room.viewer_gone("bob")
    assert room.avatars().names == ("Ann",)
    room.viewer_arrived("bob", fresh=True)
    assert room.avatars().names == ("Ann", "Bob")
    assert room.people["bob"].position == stood


def test_successor_goes_on_where_the_lost_node_stopped() -> None:
    first = world(Mode.EXPLORE, ann=Role.VISITOR)
    hold(first, "ann", 1.0, move_z=1.0, yaw=0.4)
    second = World("room", Mode.EXPLORE, SCENE)
    second.put_participant(WorldParticipant(participant="ann", display_name="Ann", role=Role.VISITOR))
    second.restore("ann", first.retained("ann"))
    second.viewer_arrived("ann", fresh=False)
    assert second.camera("ann") == first.camera("ann")
    assert len(first.retained("ann")) < 1024


def test_gallery_rests_and_wakes_with_input() -> None:
    room = world(Mode.GALLERY, ann=Role.VISITOR)
    room.take("ann", Input(seq=1, yaw=0.1), 10.0)
    assert not room.resting("ann", 10.0 + REST_AFTER_S / 2)
    assert room.resting("ann", 10.0 + REST_AFTER_S)
    room.take("ann", Input(seq=2, yaw=0.1), 11.0)
    assert room.resting("ann", 11.0), "a repeated state is no movement"
    room.take("ann", Input(seq=3, yaw=0.2), 12.0)
    assert not room.resting("ann", 12.0)


def test_gallery_orbits_and_zooms_the_chosen_exhibit() -> None:
    room = world(Mode.GALLERY, ann=Role.VISITOR)
    room.take("ann", SelectExhibit(exhibit="bell"), 0.0)
    distances = []
    for seq, zoom in enumerate((0.0, 0.5), start=1):
        room.take("ann", Input(seq=seq, yaw=math.pi / 2, zoom=zoom), float(seq))
        camera = room.camera("ann")
        offset = np.array(camera.position) - np.array((9, 1, -20))
        distances.append(float(np.linalg.norm(offset)))
        forward = np.array([-math.sin(camera.yaw), 0, -math.cos(camera.yaw)])
        assert forward @ (-offset / np.linalg.norm(offset)) > 0.9, "the camera looks at the exhibit"
    assert distances[1] < distances[0]


def test_unknown_exhibit_is_refused_and_nothing_changes() -> None:
    room = world(Mode.GALLERY, ann=Role.VISITOR)
    before = room.camera("ann")
    room.take("ann", SelectExhibit(exhibit="ufo"), 0.0)
    (event,) = room.take_events()
    assert isinstance(event.event, Refused)
    assert event.participant == "ann"
    assert room.camera("ann") == before


def test_host_moves_the_stage_camera_and_visitors_cannot() -> None:
    room = world(Mode.CONFERENCE, host=Role.HOST, ann=Role.VISITOR)
    room.take("ann", StageCamera(camera="lectern"), 0.0)
    (refused,) = room.take_events()
    assert isinstance(refused.event, Refused)
    assert room.camera(None).position == (0, 4, 30)
    room.take("host", StageCamera(camera="lectern"), 0.0)
    assert room.camera(None).position == (5, 2, 5)
    room.take("host", Input(seq=1, yaw=0.5), 1.0)
    assert room.camera(None).yaw == pytest.approx(1.5)
    assert room.input_sequence(None) == 1


def test_everybody_hears_of_a_raised_hand_and_sees_it() -> None:
    room = world(Mode.CONFERENCE, host=Role.HOST, ann=Role.VISITOR)
    room.take("ann", RaiseHand(raised=True), 0.0)
    (event,) = room.take_events()
    assert event.participant is None
    assert isinstance(event.event, RosterJoined)
    assert event.event.participant.hand_raised
    seen = room.avatars()
    assert seen.hands_raised[seen.ids.index("ann")]
    assert seen.seated.all()


def test_participants_appear_in_their_seats() -> None:
    seen = world(Mode.CONFERENCE, host=Role.HOST, ann=Role.VISITOR).avatars()
    np.testing.assert_allclose(seen.positions[seen.ids.index("ann")], PLACES.seats[1, :3])


def test_spectators_and_muted_people_are_refused_a_voice() -> None:
    room = world(Mode.EXPLORE, eve=Role.SPECTATOR, ann=Role.VISITOR)
    room.take("eve", RaiseHand(raised=True), 0.0)
    room.take("eve", Chat(text="hello"), 0.0)
    refused = room.take_events()
    room.put_participant(WorldParticipant(participant="ann", display_name="Ann", role=Role.VISITOR, muted=True))
    room.take_events()
    room.take("ann", Chat(text="hello"), 0.0)
    refused += room.take_events()
    assert [event.participant for event in refused if isinstance(event.event, Refused)] == ["eve", "eve", "ann"]
    assert not any(isinstance(event.event, ChatLine) for event in refused)


def test_chat_reaches_everybody_with_a_name() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    room.take("ann", Chat(text="你好"), 0.0)
    (event,) = room.take_events()
    assert event.event == ChatLine(participant="ann", display_name="Ann", text="你好")


def test_flood_of_chat_lines_reaches_nobody() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR, bob=Role.VISITOR)
    for number in range(50):
        room.take("ann", Chat(text=str(number)), number / 100)
    events = room.take_events()
    lines = [event for event in events if isinstance(event.event, ChatLine)]
    assert 1 <= len(lines) <= 6
    assert all(event.event.reason == "too_many" for event in events if isinstance(event.event, Refused))
    room.take("bob", Chat(text="hello"), 1.0)
    assert isinstance(room.take_events()[0].event, ChatLine)


def test_newcomer_is_told_who_is_there() -> None:
    room = world(Mode.GALLERY, ann=Role.VISITOR)
    room.put_participant(WorldParticipant(participant="bob", display_name="Bob", role=Role.VISITOR))
    room.take_events()
    room.viewer_arrived("bob", fresh=True)
    (event,) = room.take_events()
    assert isinstance(event.event, Roster)
    assert event.participant == "bob"
    assert [entry.participant for entry in event.event.participants] == ["ann", "bob"]
    assert [entry.exhibit for entry in event.event.exhibits] == ["vase", "bell"]


def test_hand_may_always_be_lowered_and_goes_down_with_the_right_to_raise_it() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    room.take("ann", RaiseHand(raised=True), 0.0)
    room.put_participant(WorldParticipant(participant="ann", display_name="ann", role=Role.SPECTATOR))
    assert not room.people["ann"].hand_raised
    room.take_events()
    room.take("ann", RaiseHand(raised=False), 1.0)
    assert room.take_events() == []


def test_hand_that_flutters_is_refused_and_told_to_nobody() -> None:
    room = world(Mode.EXPLORE, ann=Role.VISITOR)
    room.take_events()
    for number in range(100):
        room.take("ann", RaiseHand(raised=number % 2 == 0), 0.01 * number)
    events = room.take_events()
    assert sum(isinstance(event.event, RosterJoined) for event in events) < 10
    refused = [event for event in events if isinstance(event.event, Refused)]
    assert refused
    assert {(event.participant, event.event.reason) for event in refused} == {("ann", "too_many")}


def seated(number: int, role: Role = Role.VISITOR, *, muted: bool = False) -> WorldParticipant:
    name = f"p{number}"
    return WorldParticipant(participant=name, display_name=name, role=role, muted=muted, seat=number)


def test_roster_of_a_full_hall_stays_small_and_keeps_raised_hands() -> None:
    room = World("room", Mode.CONFERENCE, SCENE)
    for number in range(1000):
        room.put_participant(seated(number))
    room.take("p700", RaiseHand(raised=True), 0.0)
    roster = room.roster("p3")
    assert roster.total == 1000
    assert [entry.participant for entry in roster.participants] == ["p3", "p700"]


def test_thousand_who_come_and_go_cost_few_messages_and_hands_and_speakers_are_told_to_all() -> None:
    room = World("room", Mode.CONFERENCE, SCENE)
    for number in range(1000):
        room.put_participant(seated(number))
    to_all = [event for event in room.take_events() if event.participant is None]
    assert len(to_all) == 200, "beyond that a newcomer is told to nobody but themselves"
    room.tell_total()
    room.tell_total()
    assert [event.event for event in room.take_events()] == [RosterTotal(total=1000)]
    room.take("p700", RaiseHand(raised=True), 0.0)
    room.put_participant(WorldParticipant(participant="p800", display_name="p800", role=Role.SPEAKER, seat=800))
    room.put_participant(
        WorldParticipant(participant="p900", display_name="p900", role=Role.VISITOR, muted=True, seat=900)
    )
    room.drop_participant("p901")
    room.drop_participant("p700")
    told = [(event.participant, event.event) for event in room.take_events()]
    assert [(to, event.participant.participant) for to, event in told if isinstance(event, RosterJoined)] == [
        (None, "p700"),
        (None, "p800"),
        ("p900", "p900"),
    ]
    assert [(to, event.participant) for to, event in told if isinstance(event, RosterLeft)] == [(None, "p700")]
    room.tell_total()
    assert room.take_events() == []

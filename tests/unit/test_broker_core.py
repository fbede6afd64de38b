"""The life of rooms, sessions and views in virtual time; the state is validated after every step."""

import pytest

from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import (
    Codec,
    Drain,
    DropParticipant,
    DropSession,
    DropView,
    DropWorld,
    EndReason,
    H264Profile,
    Mode,
    ParticipantChanged,
    ParticipantPatch,
    Probe,
    PutParticipant,
    PutSession,
    PutView,
    PutWorld,
    Role,
    RoomPatch,
    SessionState,
    VideoCapability,
    ViewerConnected,
    ViewerGone,
    ViewFailed,
    ViewHolding,
    Viewport,
    ViewStarted,
)
from tests.support.broker_farm import Farm, edge_key, node_key

VP8_ONLY = [VideoCapability(codec=Codec.VP8)]
H264 = [VideoCapability(codec=Codec.H264, profiles=["42e0"])]


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    return farm


# --- Joining --------------------------------------------------------------------------------------------


def test_a_join_tells_node_and_edge_what_to_do(farm):
    farm.room()
    session = farm.join()
    world, view, admitted = farm.to("node:n1", PutWorld), farm.to("node:n1", PutView), farm.to("edge:e1", PutSession)
    assert [p.participant for p in world[0].participants] == [session.participant]
    assert (view[0].participant, [t.edge for t in view[0].targets]) == (session.participant, ["e1"])
    assert admitted[0].fence == view[0].fence > 0
    assert admitted[0].stream == view[0].stream
    assert admitted[0].state is SessionState.CONNECTING


def test_turned_phone_gets_a_picture_of_the_new_shape_for_the_same_capacity(farm):
    farm.room()
    session = farm.join(viewport=Viewport(width=390, height=844))
    farm.start_view(farm.state.views[session.view])
    used = farm.state.ledger.claimed("node:n1")
    for viewport in (Viewport(width=844, height=390), Viewport(width=390, height=844)):
        farm.carry_out(farm.brain.reshape(session.session, viewport))
        put = farm.to("node:n1", PutView)[-1]
        assert put.width / put.height == pytest.approx(viewport.width / viewport.height, rel=0.05)
        assert put.width * put.height > 0.9 * 390 * 844
    assert len(farm.fences[session.view]) == 1, "the same node draws on under the same fence"
    assert farm.state.ledger.claimed("node:n1") == used


def test_larger_window_gets_no_more_than_was_claimed_until_it_is_placed_anew(farm):
    farm.room()
    session = farm.join(viewport=Viewport(width=640, height=360))
    farm.start_view(farm.state.views[session.view])
    farm.carry_out(farm.brain.reshape(session.session, Viewport(width=1280, height=720)))
    view = farm.state.views[session.view]
    assert (view.picture.width, view.picture.height) == (640, 360)
    farm.node("n2")
    farm.carry_out(farm.brain.drain(node_key("n1"), 60.0, farm.now))
    assert (view.picture.width, view.picture.height) == (1280, 720)


def test_shape_of_a_stage_is_not_one_viewers_to_choose(farm):
    farm.room(mode=Mode.CONFERENCE)
    session = farm.join()
    before = len(farm.sent)
    farm.carry_out(farm.brain.reshape(session.session, Viewport(width=390, height=844)))
    assert len(farm.sent) == before


@pytest.mark.parametrize("prolong", ["resume", "vanish"])
def test_who_has_never_connected_cannot_prolong_their_place(farm, prolong):
    farm.room()
    session = farm.join()
    for _ in range(4):
        farm.wait(9.0)
        if session.session not in farm.state.sessions:
            break
        if prolong == "resume":
            farm.carry_out(farm.brain.resume(session.session, [], farm.now))
        else:
            farm.say(edge_key("e1"), ViewerGone(session=session.session, reason=EndReason.CONNECTION_LOST))
    assert farm.ended == {session.session: EndReason.CONNECT_TIMEOUT}


def test_the_second_to_join_is_added_to_the_world(farm):
    farm.room()
    farm.join()
    second = farm.join()
    assert len(farm.to("node:n1", PutWorld)) == 1
    assert farm.to("node:n1", PutParticipant)[0].participant.participant == second.participant
    assert len({message.fence for message in farm.to("node:n1", PutView)}) == 2


def test_a_connected_viewer_is_live_and_waits_for_nobody(farm):
    farm.room()
    session = farm.join_live()
    farm.wait(60)
    assert session.state is SessionState.LIVE


def test_who_never_connects_is_timed_out_and_the_room_freed(farm):
    farm.room()
    session = farm.join()
    farm.wait(31)
    assert farm.ended == {session.session: EndReason.CONNECT_TIMEOUT}
    assert farm.to("edge:e1", DropSession)[0].reason is EndReason.CONNECT_TIMEOUT
    assert farm.to("node:n1", DropView)
    assert farm.to("node:n1", DropWorld)


def test_a_full_room_refuses_with_a_time_to_retry(farm):
    farm.room(max_participants=2)
    farm.join()
    farm.join()
    refusal = farm.refusal()
    assert refusal.kind is RefusalKind.ROOM_FULL
    assert refusal.retry_after_s


def test_a_full_farm_refuses_and_has_room_again_when_someone_leaves(farm):
    farm.room()
    sessions = [farm.join() for _ in range(4)]
    assert farm.refusal().kind is RefusalKind.FARM_FULL
    farm.carry_out(farm.brain.end_session(sessions[0].session, EndReason.LEFT))
    farm.join()


def test_full_edges_refuse(farm):
    farm.edge("e1", max_viewers=1)
    farm.room()
    farm.join()
    assert farm.refusal().kind is RefusalKind.FARM_FULL


@pytest.mark.parametrize(
    ("scene", "kind"), [("moon", RefusalKind.NO_NODE), ("campus", RefusalKind.NO_EDGE)], ids=["scene", "edge"]
)
def test_what_is_missing_is_named(scene, kind):
    farm = Farm()
    farm.node("n1")
    if kind is not RefusalKind.NO_EDGE:
        farm.edge("e1")
    farm.room().scene = scene
    assert farm.refusal().kind is kind


def test_room_with_a_scene_no_node_has_is_refused_at_once(farm):
    with pytest.raises(Refusal, match="known are campus") as refused:
        farm.room(scene="moon")
    assert refused.value.kind is RefusalKind.SCENE_UNKNOWN
    assert not farm.state.rooms
    Farm().room(scene="moon")  # before any node has registered nobody can know


def test_an_unknown_room_is_refused(farm):
    assert farm.refusal("nowhere").kind is RefusalKind.ROOM_UNKNOWN


def test_a_refused_join_leaves_nothing_behind(farm):
    farm.room().scene = "moon"
    farm.refusal()
    assert not farm.state.sessions
    assert not farm.state.views
    assert not list(farm.state.ledger.entries())


def test_a_claim_lost_to_another_broker_is_made_elsewhere(farm):
    farm.node("n2")
    farm.edge("e2")
    farm.room()
    farm.refuse_pools = ["edge:e1", "node:n1"]
    session = farm.join()
    assert farm.view(session).node == "n2"


def test_a_join_that_finds_every_claim_taken_is_refused_in_bounded_tries(farm):
    farm.room()
    farm.refuse_pools = ["node:n1"] * 100
    assert farm.refusal().kind is RefusalKind.NO_NODE
    assert not farm.state.sessions
    assert farm.ended == {}, "who never came in does not leave"


def test_all_views_of_a_room_are_on_one_node(farm):
    farm.node("n2")
    farm.room()
    assert {farm.view(farm.join()).node for _ in range(4)} == {"n1"}
    assert farm.refusal().kind is RefusalKind.FARM_FULL


# --- Conference -----------------------------------------------------------------------------------------


def test_a_conference_shares_one_view_over_all_edges(farm):
    farm.room(mode=Mode.CONFERENCE)
    farm.edge("e2", max_viewers=100)
    sessions = [farm.join() for _ in range(10)]
    assert len({session.view for session in sessions}) == 1
    view = farm.to("node:n1", PutView)[-1]
    assert view.participant is None
    assert {target.edge for target in view.targets} == {session.edge for session in sessions} == {"e1", "e2"}
    assert (view.width, view.height, view.fps, view.profile) == (1280, 720, 30, H264Profile.CONSTRAINED_BASELINE)


def test_the_node_is_told_of_new_edges_only(farm):
    farm.room(mode=Mode.CONFERENCE)
    sessions = [farm.join() for _ in range(5)]
    assert len(farm.to("node:n1", PutView)) == 1
    farm.carry_out(farm.brain.end_session(sessions[0].session, EndReason.LEFT))
    assert len(farm.to("node:n1", PutView)) == 1


def test_a_conference_draws_a_second_stage_for_those_without_h264(farm):
    farm.room(mode=Mode.CONFERENCE)
    views = {farm.join(codecs=codecs).view for codecs in (H264, VP8_ONLY, H264, VP8_ONLY)}
    assert len(views) == 2


def test_the_stage_is_dropped_with_its_last_viewer(farm):
    farm.room(mode=Mode.CONFERENCE)
    sessions = [farm.join() for _ in range(3)]
    for session in sessions[:2]:
        farm.carry_out(farm.brain.end_session(session.session, EndReason.LEFT))
    assert not farm.to("node:n1", DropView)
    farm.carry_out(farm.brain.end_session(sessions[2].session, EndReason.LEFT))
    assert farm.to("node:n1", DropView)


def test_the_lowest_free_seat_is_given(farm):
    farm.room(mode=Mode.CONFERENCE)
    sessions = [farm.join() for _ in range(3)]
    assert [session.seat for session in sessions] == [0, 1, 2]
    farm.carry_out(farm.brain.end_session(sessions[1].session, EndReason.LEFT))
    assert farm.join().seat == 1


def test_nobody_has_a_seat_in_explore(farm):
    farm.room()
    assert farm.join().seat is None


# --- Leaving and coming back ----------------------------------------------------------------------------


def test_leaving_ends_the_session_at_once(farm):
    farm.room()
    session = farm.join_live()
    farm.say(edge_key("e1"), ViewerGone(session=session.session, reason=EndReason.LEFT))
    assert farm.ended == {session.session: EndReason.LEFT}
    assert farm.to("node:n1", DropParticipant)


def test_a_lost_viewer_may_resume(farm):
    farm.room()
    session = farm.join_live()
    farm.say(edge_key("e1"), ViewerGone(session=session.session, reason=EndReason.CONNECTION_LOST))
    farm.wait(29)
    farm.carry_out(farm.brain.resume(session.session, [], farm.now))
    farm.wait(29)
    farm.say(edge_key("e1"), ViewerConnected(session=session.session))
    farm.wait(60)
    assert session.state is SessionState.LIVE


def test_a_lost_viewer_who_stays_away_is_ended(farm):
    farm.room()
    session = farm.join_live()
    farm.say(edge_key("e1"), ViewerGone(session=session.session, reason=EndReason.CONNECTION_LOST))
    farm.wait(31)
    assert farm.ended == {session.session: EndReason.CONNECTION_LOST}
    with pytest.raises(Refusal) as caught:
        farm.brain.resume(session.session, [], farm.now)
    assert caught.value.kind is RefusalKind.SESSION_ENDED


def test_another_edge_cannot_speak_for_a_session(farm):
    farm.room()
    session = farm.join_live()
    farm.edge("e2")
    farm.say(edge_key("e2"), ViewerGone(session=session.session, reason=EndReason.LEFT))
    assert session.state is SessionState.LIVE


def test_closing_a_room_ends_everybody(farm):
    farm.room()
    sessions = [farm.join_live() for _ in range(3)]
    farm.carry_out(farm.brain.close_room("demo"))
    assert farm.ended == {session.session: EndReason.ROOM_CLOSED for session in sessions}
    assert not list(farm.state.ledger.entries())


def test_an_empty_room_closes_after_its_timeout_only(farm):
    farm.room("short", empty_timeout_s=5)
    farm.room("forever", empty_timeout_s=0)
    farm.room("busy", empty_timeout_s=5)
    farm.join_live("busy")
    farm.wait(4.5)
    assert "short" in farm.state.rooms
    farm.wait(1)
    assert set(farm.state.rooms) == {"forever", "busy"}


def test_a_changed_role_reaches_world_and_edge(farm):
    farm.room()
    session = farm.join_live()
    change = ParticipantPatch(role=Role.HOST, muted=True)
    farm.carry_out(farm.brain.patch_participant("demo", session.participant, change))
    told = farm.to("node:n1", PutParticipant)[-1].participant
    assert (told.role, told.muted) == (Role.HOST, True)
    assert (farm.to("edge:e1", PutSession)[-1].role, farm.to("edge:e1", PutSession)[-1].muted) == (Role.HOST, True)


def test_a_raised_hand_is_known(farm):
    farm.room()
    session = farm.join_live()
    farm.say(node_key("n1"), ParticipantChanged(room="demo", participant=session.participant, hand_raised=True))
    assert session.hand_raised


def test_a_lower_limit_sends_nobody_away(farm):
    farm.room()
    farm.join()
    farm.join()
    farm.carry_out(farm.brain.patch_room("demo", RoomPatch(max_participants=1), farm.now))
    assert len(farm.state.rooms["demo"].sessions) == 2
    assert farm.refusal().kind is RefusalKind.ROOM_FULL


# --- Death of a node ------------------------------------------------------------------------------------


def test_a_dead_nodes_views_are_drawn_elsewhere_behind_the_same_edge(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    first_fence = farm.view(session).fence
    farm.drop(node_key("n1"))
    farm.wait(1.2)
    view = farm.view(session)
    assert (view.node, session.edge) == ("n2", "e1")
    assert view.fence > first_fence
    assert session.state is SessionState.REPLACING
    assert farm.to("edge:e1", PutSession)[-1].fence == view.fence
    assert farm.to("node:n2", PutWorld)
    farm.start_view(view)
    assert session.state is SessionState.LIVE
    assert farm.to("edge:e1", PutSession)[-1].state is SessionState.LIVE


def test_a_claim_on_a_node_that_dies_in_the_same_step_is_given_back():
    farm = Farm()
    farm.edge("e1")
    for name in ("n1", "n2"):
        farm.node(name)
    farm.room()
    farm.join_live()
    farm.node("n3")
    silent = [node_key(name) for name in ("n1", "n2")]
    farm.wait(5.0, silent=silent)
    held = {key for key in farm.granted if key not in farm.released}
    assert held == {(pool, key, entry.fence) for pool, key, entry in farm.state.ledger.entries()}
    assert {pool for pool, _, _ in farm.granted if pool.startswith("node")} >= {"node:n1", "node:n3"}


def test_a_silent_node_is_dead_after_three_heartbeats(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    farm.wait(1.3, silent=[node_key("n1")])
    assert farm.view(session).node == "n1"
    farm.wait(0.4, silent=[node_key("n1")])
    assert farm.view(session).node == "n2"


def test_a_broker_that_stood_still_does_not_take_the_fleet_for_dead(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    farm.wait(1)
    farm.now += 20
    farm.carry_out(farm.brain.tick(farm.now))
    farm.wait(1)
    assert (farm.view(session).node, session.state) == ("n1", SessionState.LIVE)


def test_the_edge_is_fenced_before_a_new_node_is_found(farm):
    farm.room()
    session = farm.join_live()
    fence = farm.view(session).fence
    farm.drop(node_key("n1"))
    farm.wait(1.2)
    told = farm.to("edge:e1", PutSession)[-1]
    assert told.state is SessionState.REPLACING
    assert told.fence > fence


def test_without_another_node_the_session_waits_and_then_ends(farm):
    farm.room()
    session = farm.join_live()
    farm.drop(node_key("n1"))
    farm.wait(10)
    assert session.session in farm.state.sessions
    farm.wait(2)
    assert farm.ended == {session.session: EndReason.NODE_LOST}


def test_a_restarted_node_takes_its_room_up_again(farm):
    farm.room()
    session = farm.join_live()
    farm.drop(node_key("n1"))
    farm.wait(5)
    farm.node("n1")
    assert farm.view(session).node == "n1"
    farm.start_view(farm.view(session))
    assert session.state is SessionState.LIVE


def test_a_node_back_within_the_grace_keeps_its_views(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    fence = farm.view(session).fence
    farm.drop(node_key("n1"))
    farm.wait(0.5)
    farm.node("n1", views=farm.holdings("n1"))
    farm.wait(5)
    assert (farm.view(session).node, farm.view(session).fence) == ("n1", fence)
    assert session.state is SessionState.LIVE


def test_a_node_back_too_late_must_drop_what_it_still_draws(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    holdings = farm.holdings("n1")
    farm.drop(node_key("n1"))
    farm.wait(2)
    farm.sent.clear()
    farm.node("n1", views=holdings)
    assert farm.to("node:n1", DropView) == [DropView(view=session.view, fence=holdings[0].fence)]
    assert farm.view(session).node == "n2"


def test_a_late_message_about_an_old_fence_changes_nothing(farm):
    farm.room()
    session = farm.join_live()
    old = farm.view(session).fence
    farm.drop(node_key("n1"))
    farm.wait(2)
    farm.node("n1")
    farm.say(node_key("n1"), ViewStarted(view=session.view, fence=old))
    assert session.state is SessionState.REPLACING
    farm.say(node_key("n1"), ViewFailed(view=session.view, fence=old, reason="old"))
    assert farm.view(session).node == "n1"


def test_a_whole_conference_survives_its_node(farm):
    farm.node("n2")
    farm.room(mode=Mode.CONFERENCE)
    sessions = [farm.join_live() for _ in range(20)]
    farm.drop(node_key("n1"))
    farm.wait(2)
    farm.start_view(farm.view(sessions[0]))
    assert {session.state for session in sessions} == {SessionState.LIVE}
    assert len(farm.to("node:n2", PutWorld)[-1].participants) == 20


def test_a_view_that_fails_is_tried_elsewhere(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    view = farm.view(session)
    farm.say(node_key("n1"), ViewFailed(view=view.view, fence=view.fence, reason="no encoder"))
    assert view.node == "n2"


def test_a_view_that_fails_everywhere_ends_in_bounded_tries(farm):
    for name in ("n2", "n3", "n4", "n5"):
        farm.node(name)
    farm.room()
    session = farm.join()
    for _ in range(4):
        view = farm.view(session)
        farm.say(node_key(view.node), ViewFailed(view=view.view, fence=view.fence, reason="scene"))
    assert farm.ended == {session.session: EndReason.NODE_LOST}


# --- Death of an edge -----------------------------------------------------------------------------------


def test_a_dead_edges_viewers_may_resume_on_another(farm):
    farm.room()
    session = farm.join_live()
    farm.edge("e2")
    farm.drop(edge_key("e1"))
    farm.wait(5)
    farm.carry_out(farm.brain.resume(session.session, [], farm.now))
    assert session.edge == "e2"
    assert [t.edge for t in farm.to("node:n1", PutView)[-1].targets] == ["e2"]
    farm.say(edge_key("e2"), ViewerConnected(session=session.session))
    assert session.state is SessionState.LIVE


def test_a_dead_edges_viewers_resume_on_the_edge_that_is_best_with_the_node_that_draws_for_them(farm):
    farm.room()
    session = farm.join_live()
    farm.edge("e2", region="r2")
    farm.node("n2", region="r2")
    farm.edge("e3")
    farm.drop(edge_key("e1"))
    farm.wait(5)
    probes = [Probe(edge="e2", rtt_ms=10.0), Probe(edge="e3", rtt_ms=12.0)]
    farm.carry_out(farm.brain.resume(session.session, probes, farm.now))
    assert (session.edge, farm.view(session).node) == ("e3", "n1")


def test_a_dead_edges_viewers_who_stay_away_are_ended(farm):
    farm.room()
    session = farm.join_live()
    farm.drop(edge_key("e1"))
    farm.wait(32)
    assert farm.ended == {session.session: EndReason.EDGE_LOST}


def test_an_edge_back_in_time_keeps_its_viewers_and_is_told_of_all(farm):
    farm.room()
    session, waiting = farm.join_live(), farm.join()
    farm.drop(edge_key("e1"))
    farm.wait(0.5)
    farm.sent.clear()
    farm.edge("e1", sessions=[session.session, "unknown"])
    farm.wait(5)
    assert session.state is SessionState.LIVE
    assert {m.session for m in farm.to("edge:e1", PutSession)} == {session.session, waiting.session}
    assert farm.to("edge:e1", DropSession) == [DropSession(session="unknown", reason=EndReason.SHUTDOWN)]


# --- Drain ----------------------------------------------------------------------------------------------


def test_a_drained_node_hands_its_rooms_over_and_draws_until_the_other_does(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    old_fence = farm.view(session).fence
    farm.carry_out(farm.brain.drain(node_key("n1"), 300, farm.now))
    view = farm.view(session)
    assert view.node == "n2"
    assert session.state is SessionState.LIVE
    assert not farm.to("node:n1", DropView)
    farm.start_view(view)
    assert farm.to("node:n1", DropView) == [DropView(view=view.view, fence=old_fence)]
    assert farm.to("node:n1", DropWorld)
    assert farm.to("edge:e1", PutSession)[-1].fence == view.fence > old_fence
    farm.wait(1)
    assert farm.state.nodes["n1"].state == "drained"


def test_a_draining_node_gets_no_new_work(farm):
    farm.room()
    farm.carry_out(farm.brain.drain(node_key("n1"), 300, farm.now))
    assert farm.refusal().kind is RefusalKind.NO_NODE


def test_a_drain_waits_for_another_node_and_ends_the_rest_at_its_deadline(farm):
    farm.room()
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(node_key("n1"), 20, farm.now))
    farm.wait(19)
    assert session.state is SessionState.LIVE
    farm.wait(2)
    assert farm.ended == {session.session: EndReason.DRAINED}


def test_a_drain_outlives_a_reconnect(farm):
    farm.carry_out(farm.brain.drain(node_key("n1"), 100, farm.now))
    farm.wait(40)
    farm.drop(node_key("n1"))
    farm.sent.clear()
    farm.node("n1")
    assert farm.to("node:n1", Drain)[0].deadline_s == pytest.approx(60, abs=1)
    farm.room()
    assert farm.refusal().kind is RefusalKind.NO_NODE


def test_a_drain_can_be_called_off(farm):
    farm.room()
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(node_key("n1"), 20, farm.now))
    farm.carry_out(farm.brain.cancel_drain(node_key("n1")))
    farm.wait(25)
    assert session.state is SessionState.LIVE
    farm.join()


def test_a_node_that_dies_while_taking_over_leaves_the_old_one_drawing(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(node_key("n1"), 300, farm.now))
    farm.drop(node_key("n2"))
    farm.node("n3")
    farm.wait(2)
    assert farm.view(session).node == "n3"
    farm.start_view(farm.view(session))
    assert session.state is SessionState.LIVE


def test_a_draining_node_that_dies_is_forgotten_by_the_move(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(node_key("n1"), 300, farm.now))
    farm.drop(node_key("n1"))
    farm.wait(2)
    assert farm.view(session).node == "n2"
    assert not farm.view(session).previous


def test_a_drained_edge_ends_its_viewers_at_the_deadline(farm):
    farm.room()
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(edge_key("e1"), 5, farm.now))
    assert farm.refusal().kind is RefusalKind.NO_EDGE
    farm.wait(6)
    assert farm.ended == {session.session: EndReason.DRAINED}


# --- Claims and restarts --------------------------------------------------------------------------------


def test_a_view_whose_claim_went_to_others_is_placed_again(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    fence = farm.view(session).fence
    farm.carry_out(farm.brain.claim_lost("node:n1", session.view, farm.now))
    assert farm.view(session).fence > fence


def test_a_session_whose_place_on_the_edge_went_to_others_ends(farm):
    farm.room()
    session, other = farm.join_live(), farm.join_live()
    farm.carry_out(farm.brain.claim_lost("edge:e1", session.session, farm.now))
    assert farm.ended == {session.session: EndReason.EDGE_LOST}
    assert list(farm.state.sessions) == [other.session]


def test_viewers_an_edge_no_longer_has_when_it_comes_back_may_resume_in_time(farm):
    farm.room()
    gone, stays = farm.join_live(), farm.join_live()
    farm.drop(edge_key("e1"))
    farm.edge("e1", sessions=[stays.session])
    assert (gone.connected, stays.connected) == (False, True)
    farm.wait(farm.state.settings.resume_grace_s + 1)
    assert farm.ended == {gone.session: EndReason.CONNECTION_LOST}


def test_a_restarted_broker_finds_rooms_and_sessions_and_agents_keep_their_work(farm):
    farm.node("n2")
    farm.room()
    session = farm.join_live()
    fence = farm.view(session).fence
    successor = Farm()
    old = farm.state
    successor._fence = 1000
    successor.brain.restore(
        old.rooms.values(), old.views.values(), old.sessions.values(), [old.nodes["n1"], old.edges["e1"]], successor.now
    )
    successor.carry_out([])
    successor.wait(5)
    successor.node("n1", views=[ViewHolding(view=session.view, fence=fence)])
    successor.edge("e1", sessions=[session.session])
    successor.wait(60)
    revived = successor.state.sessions[session.session]
    assert revived.state is SessionState.LIVE
    assert successor.view(revived).fence == fence


def test_a_drain_under_way_goes_on_after_a_restart_of_the_broker(farm):
    farm.carry_out(farm.brain.drain(node_key("n1"), 5, farm.now))
    successor = Farm()
    drained, ready = farm.state.nodes["n1"], farm.state.edges["e1"]
    successor.brain.restore([], [], [], [drained, ready], successor.now)
    assert drained.drain_deadline == successor.now + successor.state.settings.restored_drain_s
    assert ready.drain_deadline is None


def test_a_restarted_broker_places_again_what_nobody_came_back_for(farm):
    farm.room()
    session = farm.join_live()
    successor = Farm()
    old = farm.state
    successor._fence = 1000
    successor.brain.restore(old.rooms.values(), old.views.values(), old.sessions.values(), [old.edges["e1"]], 1000.0)
    successor.node("n2")
    successor.edge("e1", sessions=[session.session])
    successor.wait(successor.state.settings.restore_grace_s + 1)
    assert successor.view(successor.state.sessions[session.session]).node == "n2"


def test_a_move_whose_claim_is_refused_ends_nobody_while_the_old_node_draws_on() -> None:
    farm = Farm()
    farm.edge("e1")
    farm.node("n1")
    farm.room("demo")
    session = farm.join_live()
    view = farm.view(session)
    farm.node("n2")
    farm.refuse_pools = ["node:n2"]
    farm.carry_out(farm.brain.drain(node_key("n1"), 120.0, farm.now))
    assert (view.node, [holding.node for holding in view.previous]) == (None, ["n1"])
    farm.wait(2 * farm.state.settings.node_search_s)
    assert not farm.ended, "the picture has never stopped"
    farm.node("n3")
    farm.wait(0.2)
    assert view.node == "n3"
    farm.start_view(view)
    assert not view.previous


def test_a_node_that_the_store_has_forgotten_keeps_its_views_when_it_comes_back_in_time(farm):
    farm.room()
    session = farm.join_live()
    view = farm.view(session)
    successor = Farm()
    old = farm.state
    successor._fence = 1000
    successor.brain.restore(
        old.rooms.values(), old.views.values(), old.sessions.values(), [old.edges["e1"]], successor.now
    )
    successor.node("n2")
    successor.edge("e1", sessions=[session.session])
    successor.wait(5)
    successor.node("n1", views=[ViewHolding(view=view.view, fence=view.fence)])
    successor.wait(60)
    revived = successor.view(successor.state.sessions[session.session])
    assert (revived.node, revived.fence) == ("n1", view.fence)
    assert successor.to("node:n1", DropView) == []


def test_both_places_of_a_view_on_the_move_stay_taken_after_a_restart(farm):
    farm.room()
    session = farm.join_live()
    farm.node("n2")
    farm.carry_out(farm.brain.drain(node_key("n1"), 60, farm.now))
    view, old = farm.view(session), farm.state
    assert [holding.node for holding in view.previous] == ["n1"]
    successor = Farm()
    agents = [old.nodes["n1"], old.nodes["n2"], old.edges["e1"]]
    successor.brain.restore(old.rooms.values(), [view], old.sessions.values(), agents, successor.now)
    successor.carry_out([])
    assert successor.state.ledger.claimed("node:n1") == successor.state.ledger.claimed("node:n2") > 0


def test_a_view_that_nobody_watches_holds_no_place_after_a_restart(farm):
    farm.room()
    session = farm.join_live()
    view, old = farm.view(session), farm.state
    successor = Farm()
    successor.brain.restore(old.rooms.values(), [view], [], [old.nodes["n1"]], successor.now)
    assert successor.state.views == {}
    assert successor.state.ledger.claimed("node:n1") == 0


def test_agents_may_return_for_longer_after_the_broker_stood_still_for_long(farm):
    farm.room()
    session = farm.join_live()
    farm.wait(1)
    farm.now += 30.0
    farm.carry_out(farm.brain.watch(farm.now))
    farm.drop(node_key("n1"))
    farm.drop(edge_key("e1"))
    farm.wait(5)
    farm.node("n1", views=farm.holdings("n1"))
    farm.edge("e1", sessions=[session.session])
    farm.wait(5)
    assert farm.view(session).node == "n1"
    assert farm.ended == {}
    assert not any(message.state is SessionState.REPLACING for message in farm.to("edge:e1", PutSession))

"""An edge that passes streams on: what its children see, and what it tells their source."""

import itertools

import pytest

from broker import protocol
from broker.protocol import SourceLost
from edge.engine import PublishedPicture
from edge.relay import CIRCLE, DROPS_ANSWERED_EVERY_S
from edge.switching import RTP_HZ
from edge.trunk import LINGER_S, MAX_HOPS, LayerDescription, StreamFeedback, StreamOpen, ViewerAudio
from tests.support.cascade import FRAME_S, STREAM, Source, World


def chain(*names: str) -> tuple[World, Source]:
    """A node that feeds the first edge, which feeds the next, and so on; a viewer `s-NAME` on each."""
    world = World(*names)
    for name in names:
        world[name].viewer(f"s-{name}")
    node = Source(world, names[0])
    node.open()
    for parent, child in itertools.pairwise(names):
        world[parent].relay(child)
    return world, node


def play(node: Source, count: int, *, clock_us: int = 0, first: int = 0) -> list[bytes]:
    payloads = [f"{node.source}-{first + number}".encode() for number in range(count)]
    for number, payload in enumerate(payloads):
        node.frame(keyframe=number == 0, payload=payload, clock_us=clock_us)
    return payloads


def steps(edge) -> list[int]:
    return [later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(edge.engine.sent)]


def test_every_edge_of_a_chain_shows_the_same_pictures_without_a_copy() -> None:
    world, node = chain("a", "b", "c")
    node.frame(keyframe=True, payload=b"one")
    picture = b"two"
    node.frame(payload=picture, shows=7)
    for name in "abc":
        assert world[name].shown == [b"one", b"two"]
        assert [frame.keyframe for frame in world[name].engine.sent] == [True, False]
        assert world[name].engine.sent[1].payload is picture
    assert [frame.input_sequence for frame in world["b"].wire_to("c").frames] == [0, 7]
    assert [world[name].hub.hops for name in "abc"] == [0, 1, 2]


def test_newcomer_begins_with_a_keyframe_made_for_it_and_the_others_see_every_picture() -> None:
    world, node = chain("a", "b")
    world.edges["c"] = type(world["a"])(world, "c")
    sent = play(node, 3)
    world.wait(1.0)
    asked = len(node.called("request_keyframe"))
    world["a"].relay("b", "c")
    assert len(node.called("request_keyframe")) == asked + 1
    node.frame(payload=b"undecodable")
    assert world["a"].wire_to("c").frames == [], "what cannot be decoded is not sent"
    node.frame(keyframe=True, payload=b"start")
    node.frame(payload=b"go on")
    assert world["c"].shown == [b"start", b"go on"]
    assert world["b"].shown == [*sent, b"undecodable", b"start", b"go on"]
    world.wait(2.0)
    assert len(node.called("request_keyframe")) == asked + 1


def test_what_viewers_behind_two_edges_say_reaches_the_node() -> None:
    world, node = chain("a", "b", "c")
    world["c"].hub.on_message("s-c", "input", protocol.encode(protocol.Input(seq=3, yaw=0.5)))
    world["c"].hub.on_voice("s-c", b"opus")
    world.settle()
    ((channel, said),) = node.called("send_input")
    assert (channel, said.session, said.participant) == (1, "s-c", "p-s-c")
    assert protocol.decode_client_message(said.body) == protocol.Input(seq=3, yaw=0.5)
    assert node.called("send_voice") == [(1, "p-s-c", b"opus")]
    assert {viewer.session for _, viewer in node.called("send_viewer")} == {"s-a", "s-b", "s-c"}
    world["c"].hub.on_gone("s-c", protocol.EndReason.CONNECTION_LOST)
    world.settle()
    gone = node.called("send_viewer")[-1][1]
    assert (gone.session, gone.present) == ("s-c", False)


def test_viewer_who_cannot_decode_has_the_node_asked_once_however_many_edges_lie_between() -> None:
    world, node = chain("a", "b", "c")
    play(node, 3)
    world.wait(2.0)
    before = len(node.called("request_keyframe"))
    for name in "abc":
        world[name].hub.on_keyframe_needed(STREAM, 0)
    world.settle()
    assert len(node.called("request_keyframe")) == before + 1


def test_feedback_counts_everybody_and_lets_each_child_speak_for_its_viewers() -> None:
    world, node = chain("a", "b", "c")
    world["a"].viewer("slow", bandwidth_bps=500_000)
    for number in range(9):
        world["c"].viewer(f"more-{number}", bandwidth_bps=1_500_000)
    world["a"].hub.tick(1.0)
    world.settle()
    feedback = node.called("send_feedback")[-1][1]
    assert feedback.viewers == 13
    assert feedback.bitrate_bps == pytest.approx(1_200_000), "the one slow line is a minority"
    world["c"].hub.on_gone("more-0", protocol.EndReason.CONNECTION_LOST)
    world.settle()
    assert node.called("send_feedback")[-1][1].viewers == 12


def test_children_do_not_notice_that_a_node_was_exchanged() -> None:
    world, old = chain("a", "b", "c")
    sent = play(old, 10)
    successor = Source(world, "a", channel=2, name="node-2")
    successor.open(fence=2)
    assert {viewer.session for _, viewer in successor.called("send_viewer")} == {"s-a", "s-b", "s-c"}
    world["a"].relay("b", fence=2)
    world["b"].relay("c", fence=2)
    old.frame(payload=b"still")
    assert world["c"].shown[-1] == b"still", "the old node is shown until the new one's keyframe"
    sent += [b"still", *play(successor, 10, clock_us=-77_000_000_000)]
    for name in "abc":
        assert world[name].shown == sent
        assert all(abs(step - RTP_HZ * FRAME_S) < 30 for step in steps(world[name])), steps(world[name])
    assert len(old.called("refuse")) == 1
    assert sum(not wire.closed for wire in world["a"].wires) == 1, "the child has refused the former stream"
    captured_us = [frame.capture_time_us for wire in world["a"].wires for frame in wire.frames]
    assert all(abs(later - earlier - FRAME_S * 1e6) < 500 for earlier, later in itertools.pairwise(captured_us))


def test_edge_with_two_parents_shows_the_newer_one_from_its_first_keyframe_on() -> None:
    world = World("a", "d", "b")
    for name in world.edges:
        world[name].viewer(f"s-{name}")
    nodes = [Source(world, name) for name in "ad"]
    for node in nodes:
        node.open()
    world["a"].relay("b")
    play(nodes[0], 2)
    world["d"].relay("b")
    nodes[0].frame(payload=b"of a")
    nodes[1].frame(payload=b"no start")
    assert world["b"].shown[-1] == b"of a"
    nodes[1].frame(keyframe=True, payload=b"of d")
    nodes[0].frame(payload=b"late")
    nodes[1].frame(payload=b"on")
    assert world["b"].shown[-2:] == [b"of d", b"on"]
    assert world["a"].hub.relay.children == 0, "its child has refused it"
    assert world["b"].told.count(SourceLost(stream=STREAM)) == 0


def test_child_that_is_taken_away_is_fed_until_another_edge_feeds_it_and_not_for_ever() -> None:
    world, node = chain("a", "b")
    play(node, 2)
    world["a"].relay()
    assert world["a"].hub.relay.relayed() == []
    world.wait(LINGER_S / 2)
    node.frame(payload=b"meanwhile")
    assert world["b"].shown[-1] == b"meanwhile"
    world.wait(LINGER_S + 0.2)
    node.frame(payload=b"too late")
    assert world["b"].shown[-1] == b"meanwhile"
    assert (world["a"].hub.relay.streams, world["a"].hub.relay.children) == (0, 0)


def test_child_that_reads_too_slowly_harms_nobody_and_gets_keyframes_seldom() -> None:
    world, node = chain("a", "b")
    world.edges["c"] = type(world["a"])(world, "c")
    world["a"].relay("b", "c")
    play(node, 1)
    world["a"].wire_to("c").taking = False
    world.wait(5.0)
    asked = len(node.called("request_keyframe"))
    seconds = 6
    for number in range(seconds * 30):
        node.frame(payload=b"%d" % number)
    assert world["b"].shown[-1] == b"%d" % (seconds * 30 - 1)
    assert len(world["b"].shown) == seconds * 30 + 1
    assert 1 <= len(node.called("request_keyframe")) - asked <= seconds / 0.5
    answered = world["a"].hub.relay.counters.frames_not_relayed
    assert answered == seconds * 30
    assert world["a"].hub.relay._relayed[STREAM].children["c"].asked_s > world.now - DROPS_ANSWERED_EVERY_S - FRAME_S


def test_edges_that_edges_fed_say_so_when_that_ends_and_keep_what_their_viewers_say_meanwhile() -> None:
    world, node = chain("a", "b", "c")
    play(node, 2)
    node.close()
    lost = SourceLost(stream=STREAM)
    assert [world[name].told.count(lost) for name in "abc"] == [0, 1, 1], "of a node the broker knows itself"
    world["c"].hub.on_message("s-c", "control", protocol.encode(protocol.RaiseHand(raised=True)))
    world.wait(1.0)
    successor = Source(world, "a", channel=2, name="node-2")
    successor.open(fence=2)
    ((_, said),) = successor.called("send_input")
    assert protocol.decode_client_message(said.body) == protocol.RaiseHand(raised=True)
    sent = play(successor, 2)
    for name in "abc":
        assert world[name].shown[-2:] == sent


def test_edge_nobody_waits_at_does_not_complain_of_a_lost_source() -> None:
    world = World("a", "b")
    node = Source(world, "a")
    node.open()
    world["a"].relay("b")
    play(node, 1)
    world["a"].wire_to("b").cut()
    assert world["b"].told == []


def test_edge_whose_parent_dies_says_so_and_waits_for_another() -> None:
    world, node = chain("a", "b")
    play(node, 2)
    world["a"].wire_to("b").cut()
    assert world["b"].told[-1] == SourceLost(stream=STREAM)


def test_round_trip_to_an_edge_is_not_taken_for_one_to_a_node() -> None:
    world, node = chain("a", "b")
    assert not world["a"].hub.comes_from_edge(node)
    assert world["b"].hub.comes_from_edge(world["a"].wire_to("b")._connection)


def test_message_and_sound_go_only_where_their_listeners_are() -> None:
    world, node = chain("a", "b", "c")
    world.edges["d"] = type(world["a"])(world, "d")
    world["a"].relay("b", "d")
    world["d"].viewer("s-d")
    node.event(protocol.Pong(id=1), session="s-c")
    assert [world[name].engine.messages for name in "abd"] == [[], [], []]
    assert world["c"].engine.messages == [("s-c", protocol.Pong(id=1))]
    node.event(protocol.Pong(id=2))
    for name in "abcd":
        assert (f"s-{name}", protocol.Pong(id=2)) in world[name].engine.messages
    node.audio(ViewerAudio(b"all", 20_000, frozenset({"s-c"}), everybody_else=True))
    node.audio(ViewerAudio(b"own", 20_000, frozenset({"s-c"})))
    assert {name: world[name].engine.sounds for name in "abcd"} == {
        "a": [("s-a", b"all")],
        "b": [("s-b", b"all")],
        "c": [("s-c", b"own")],
        "d": [("s-d", b"all")],
    }


def test_state_that_a_child_kept_is_there_for_the_successor_of_node_and_edge() -> None:
    world, node = chain("a", "b")
    world["a"].hub.on_state(node, 1, b"pose")
    world.settle()
    world.edges["n"] = type(world["a"])(world, "n")
    world["n"].viewer("s-n")
    first = Source(world, "n", name="node-2")
    first.open(fence=2)
    world["n"].relay("b", fence=2)
    successor = Source(world, "n", channel=2, name="node-3")
    successor.open(fence=3)
    assert successor.called("accept") == [(2, b"pose")]


def test_two_edges_that_feed_one_another_for_a_moment_come_to_rest_and_recover() -> None:
    world, node = chain("a", "b")
    play(node, 3)
    world["b"].relay("a")
    for number in range(5):
        node.frame(keyframe=number == 0, payload=b"%d" % number)
    world["b"].relay()
    world.wait(LINGER_S + 0.2)
    again = Source(world, "a", channel=3)
    again.open()
    sent = play(again, 3)
    assert world["a"].shown[-3:] == sent
    assert world["b"].shown[-3:] == sent


def test_stream_does_not_come_back_to_an_edge_it_has_passed_through() -> None:
    world, node = chain("a", "b", "c")
    sent = play(node, 3)
    world["c"].relay("a")
    sent += play(node, 3, first=3)
    assert world["a"].shown == sent
    assert world["c"].shown == sent


def test_edge_refuses_a_stream_that_names_it_among_those_it_has_passed() -> None:
    world = World("a")
    world["a"].viewer("s-a")
    other = Source(world, "a", name="b")
    offered = StreamOpen(stream=STREAM, fence=9, path=["a", "b"])
    assert world["a"].hub.on_open(other, 1, offered) == CIRCLE
    assert world["a"].hub.streams == 0


def test_circle_that_forms_as_sources_change_is_broken_by_word_of_the_new_way() -> None:
    world, node = chain("a", "b", "c")
    play(node, 3)
    other = Source(world, "c", name="node-2")
    other.open()
    world["c"].relay("a")
    play(other, 3)
    assert world["b"].shown == world["a"].shown
    node.close()
    other.close()
    world.wait(1.0)
    assert [world[name].hub.streams for name in "abc"] == [0, 0, 0], "nobody feeds anybody without a node"
    again = Source(world, "a", channel=2)
    again.open()
    sent = play(again, 3)
    for name in "abc":
        assert world[name].shown[-3:] == sent


def test_stream_passes_through_a_bounded_number_of_edges() -> None:
    names = [f"e{number}" for number in range(MAX_HOPS + 3)]
    world, node = chain(*names)
    play(node, 2)
    reached = [name for name in names if world[name].shown]
    assert reached == names[: MAX_HOPS + 1]


def test_command_that_comes_before_the_source_is_carried_out_when_it_is_there() -> None:
    world = World("a", "b")
    world["b"].viewer("s-b")
    world["a"].relay("b")
    assert world["a"].wires == []
    assert world["a"].hub.relay.relayed() == [STREAM]
    node = Source(world, "a")
    node.open()
    sent = play(node, 2)
    assert world["b"].shown == sent


def test_repeated_command_changes_nothing() -> None:
    world, node = chain("a", "b")
    play(node, 1)
    world["a"].relay("b")
    assert len(world["a"].wires) == 1


LAYERS = [LayerDescription(width=w, height=w // 2, max_bitrate_bps=bps) for w, bps in ((640, 8e5), (1280, 3e6))]


def layered_chain() -> tuple[World, Source]:
    """A node that sends two layers to an edge that feeds two others."""
    world = World("a", "b", "c")
    for name in world.edges:
        world[name].viewer(f"s-{name}")
    node = Source(world, "a")
    node.open(layers=LAYERS)
    world["a"].relay("b", "c")
    return world, node


def test_layers_reach_every_edge_as_what_they_are() -> None:
    world, node = layered_chain()
    node.frame(keyframe=True, layers=(0, 1))
    node.frame(layers=(0, 1))
    for name in "abc":
        assert [frame.layer for frame in world[name].engine.sent] == [0, 1, 0, 1]
        assert len({frame.timestamp for frame in world[name].engine.sent}) == 2
        assert len(world[name].engine.layers) == 2
    world.wait(2.0)
    world["b"].hub.on_keyframe_needed(STREAM, 1)
    world.settle()
    assert node.called("request_keyframe")[-1] == (1, 1)


def test_layers_are_counted_over_all_edges() -> None:
    world, node = layered_chain()
    for child, layers, bitrate_bps in (("b", [2, 1], 3e6), ("c", [0, 4], 2e6)):
        feedback = StreamFeedback(viewers=sum(layers), layers=layers, bitrate_bps=bitrate_bps)
        world["a"].hub.relay.on_feedback(world["a"].wire_to(child), feedback)
    told = node.called("send_feedback")[-1][1]
    assert (told.viewers, told.layers) == (1 + 3 + 4, [2, 5 + 1])
    assert told.bitrate_bps == pytest.approx(2e6), "what the slower of those takes who get the highest"


def go_on_air(edge, encodings: int = 1) -> None:
    edge.put("cam", 0, publishes=True)
    edge.hub.publish("cam", encodings)
    edge.hub.on_connected("cam")


def publish(edge, number: int, *, keyframe: bool = False) -> None:
    edge.hub.on_published("cam", PublishedPicture(b"cam", keyframe, 0, number, int(edge.world.now * 1e6)))
    edge.world.settle()


def test_publishers_picture_reaches_every_edge_and_the_nodes_comes_back() -> None:
    world, node = chain("a", "b", "c")
    play(node, 2)
    go_on_air(world["a"])
    publish(world["a"], 1, keyframe=True)
    publish(world["a"], 2)
    node.frame(payload=b"not shown")
    assert all(world[name].shown[-2:] == [b"cam", b"cam"] for name in "abc")
    assert node.called("send_feedback")[-1][1].viewers == 0
    world["a"].hub.on_gone("cam", protocol.EndReason.LEFT)
    world.settle()
    assert node.called("send_feedback")[-1][1].viewers == 3
    node.frame(keyframe=True, payload=b"again")
    assert all(world[name].shown[-1] == b"again" for name in "abc")
    for name in "abc":
        assert all(step > 0 for step in steps(world[name]))


def test_viewer_behind_another_edge_has_the_publisher_asked_for_a_keyframe() -> None:
    world, _ = chain("a", "b")
    go_on_air(world["a"])
    for number in (1, 2):
        publish(world["a"], number, keyframe=True)
    world.wait(2.0)
    asked = len(world["a"].engine.starts_requested)
    world["b"].hub.on_keyframe_needed(STREAM, 0)
    world.settle()
    assert world["a"].engine.starts_requested[asked:] == [("cam", 0)]


def test_edges_are_told_the_layers_of_what_is_on_air() -> None:
    world, node = layered_chain()
    node.frame(keyframe=True, layers=(0, 1))
    assert len(world["b"].engine.layers) == 2
    go_on_air(world["a"])
    for number in range(1, 4):
        publish(world["a"], number, keyframe=True)
    assert world["b"].engine.layers == []
    assert world["b"].shown[-1] == b"cam"


def test_stage_of_a_publisher_outlives_its_node_on_every_edge() -> None:
    world, node = chain("a", "b")
    play(node, 1)
    go_on_air(world["a"])
    publish(world["a"], 1, keyframe=True)
    world["a"].hub.on_close(node, 1, "connection lost")
    publish(world["a"], 2)
    publish(world["a"], 3, keyframe=True)
    publish(world["a"], 4)
    assert world["b"].shown[-2:] == [b"cam", b"cam"]

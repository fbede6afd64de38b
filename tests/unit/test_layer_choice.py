"""The aiortc engine's choice of layer."""

from edge.layer_choice import STOPPED_AFTER, LayerChoice

RATES_BPS = (300_000.0, 1_000_000.0, 2_500_000.0)


def test_newcomer_starts_with_the_highest_layer_that_its_line_is_thought_to_take() -> None:
    assert [LayerChoice(start_bps, RATES_BPS).shown for start_bps in (1e5, 3e5, 2e6, 1e7)] == [0, 0, 1, 2]
    assert LayerChoice(1e7, ()).shown == 0


def test_layer_changes_at_a_keyframe_of_the_wanted_one() -> None:
    choice = LayerChoice(1e7, RATES_BPS)
    choice.take_estimate(8e5, RATES_BPS)
    assert (choice.shown, choice.wanted) == (2, 0)
    assert choice.admits(2, 3000, keyframe=False)
    assert not choice.admits(0, 3000, keyframe=False)
    assert not choice.admits(1, 6000, keyframe=True)
    assert choice.admits(0, 6000, keyframe=True)
    assert not choice.admits(2, 9000, keyframe=True)


def test_estimate_between_what_keeps_a_layer_and_what_wins_it_changes_nothing() -> None:
    choice = LayerChoice(1e6, RATES_BPS)
    for estimate_bps in (960_000, 2_800_000, 960_000):
        choice.take_estimate(estimate_bps, RATES_BPS)
        assert choice.wanted == 1
    choice.take_estimate(2_900_000, RATES_BPS)
    assert choice.wanted == 2


def test_layer_that_stops_is_left_and_a_stream_at_rest_is_not() -> None:
    choice = LayerChoice(1e7, RATES_BPS)
    assert choice.admits(2, 1_000_000, keyframe=True)
    assert choice.admits(2, 1_000_000 + 10 * STOPPED_AFTER, keyframe=False), "it rested, and goes on"
    assert not choice.admits(0, 1_000_000 + 12 * STOPPED_AFTER, keyframe=False)
    assert choice.wanted == 0
    assert choice.admits(0, 1_000_000 + 12 * STOPPED_AFTER + 3000, keyframe=True)


def test_layers_that_are_no_more_are_left() -> None:
    choice = LayerChoice(1e7, RATES_BPS)
    choice.take_estimate(1e7, ())
    assert choice.wanted == 0

"""What a viewer may have sent again."""

from edge.retransmission import BURST, LEAST_WAIT_S, MOST_REPEATS, SHARE, RetransmissionBudget

RTT_S = 0.05


def test_lost_packet_is_repeated_at_once_and_again_after_a_round_trip() -> None:
    budget = RetransmissionBudget()
    assert budget.allows(7, RTT_S, 10.0)
    assert not budget.allows(7, RTT_S, 10.0 + RTT_S / 2)
    assert budget.allows(7, RTT_S, 10.0 + RTT_S)
    assert budget.allows(8, RTT_S, 10.0 + RTT_S)


def test_unknown_round_trip_still_leaves_time_to_arrive() -> None:
    budget = RetransmissionBudget()
    assert budget.allows(7, 0.0, 10.0)
    assert not budget.allows(7, 0.0, 10.0 + LEAST_WAIT_S / 2)


def test_packet_is_given_up_after_some_repeats() -> None:
    budget = RetransmissionBudget()
    assert sum(budget.allows(7, RTT_S, 10.0 + number * RTT_S) for number in range(20)) == MOST_REPEATS


def test_number_that_comes_round_again_is_another_packet() -> None:
    budget = RetransmissionBudget()
    for lap in range(MOST_REPEATS + 2):
        for _ in range(65_536):
            budget.earn()
        assert budget.allows(7, RTT_S, lap * 400.0)


def test_storm_of_requests_is_answered_with_no_more_than_a_share_of_the_stream() -> None:
    budget = RetransmissionBudget()
    repeats = 0
    for packet in range(10_000):
        budget.earn()
        now = packet * 0.01
        repeats += sum(budget.allows((packet - back) % 65_536, 0.0, now) for back in range(128))
    assert repeats <= 10_000 * SHARE + BURST
    assert budget.refused > 1_000_000

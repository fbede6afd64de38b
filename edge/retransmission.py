"""How much may be sent again: a budget per viewer. Pure.

A receiver names all it misses whenever it misses one more packet (RFC 4585, section 6.2.1), so a line that is too
narrow asks for the same packets again and again, and answering would fill it with repeats; a hostile one would have a
few bytes answered with thousands. Hence of what a viewer is sent only a share is repeats, and a packet is not repeated
before the last repeat could have arrived.
"""

from collections import OrderedDict

SHARE = 0.3
"""Repeats for each packet sent for the first time, on average."""
BURST = 64.0
"""Repeats that can be saved up: a keyframe's packets."""
LEAST_WAIT_S = 0.02
MOST_REPEATS = 4
REMEMBERED_PACKETS = 512
FORGET_S = 5.0
"""After this long a sequence number stands for another packet."""


class RetransmissionBudget:
    """One viewer's; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self.refused = 0
        self._credit = BURST
        self._repeated: OrderedDict[int, tuple[float, int]] = OrderedDict()
        """When each packet was repeated last, and how often, by sequence number."""

    def earn(self) -> None:
        """A packet was sent for the first time."""
        self._credit = min(BURST, self._credit + SHARE)

    def allows(self, sequence: int, rtt_s: float, now: float) -> bool:
        """Whether to send the packet of this number again; answering True spends."""
        last_s, times = self._repeated.get(sequence, (float("-inf"), 0))
        if now - last_s > FORGET_S:
            times = 0
        if self._credit < 1.0 or times >= MOST_REPEATS or now - last_s < max(LEAST_WAIT_S, rtt_s):
            self.refused += 1
            return False
        self._credit -= 1.0
        self._repeated[sequence] = now, times + 1
        self._repeated.move_to_end(sequence)
        while len(self._repeated) > REMEMBERED_PACKETS:
            self._repeated.popitem(last=False)
        return True

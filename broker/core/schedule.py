"""When rooms are open: before, only hosts come in; at the end the room closes, and everybody is warned of it.

Times of the clock on the wall are the shell's business. Here they are texts for people, and seconds of the core's
`now`, which the shell works out anew after a restart.
"""

from msgspec import Struct

from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import Role

WARNED_BEFORE_S = 300.0
"""How long before its end a room is told."""
LEAD_S = 600.0
"""From when on before it opens a room's audience is wanted machines for: twice what a large machine takes to start."""
ARRIVAL_S = 900.0
"""How long after the opening those are waited for who have not come."""


class Schedule(Struct, frozen=True, kw_only=True):
    """`open_at` and `close_at` are RFC 3339, for people; `opens_at_s`, `closes_at_s` the same in the core's `now`."""

    open_at: str | None = None
    close_at: str | None = None
    opens_at_s: float | None = None
    closes_at_s: float | None = None
    expected_audience: int = 0

    def is_open(self, now: float) -> bool:
        """Whether the room has opened."""
        return self.opens_at_s is None or now >= self.opens_at_s

    def is_over(self, now: float) -> bool:
        """Whether the room is to close."""
        return self.closes_at_s is not None and now >= self.closes_at_s

    def ends_soon(self, now: float) -> bool:
        """Whether those in the room should know that it closes."""
        return self.closes_at_s is not None and now >= self.closes_at_s - WARNED_BEFORE_S

    def keeps_room(self, now: float) -> bool:
        """Whether the room stays although nobody is there: it has an end of its own, or is not open yet."""
        return self.closes_at_s is not None or not self.is_open(now)

    def awaited(self, present: int, now: float) -> int:
        """How many more are expected soon; a room without an opening time awaits nobody."""
        if self.opens_at_s is None or not -LEAD_S <= now - self.opens_at_s < ARRIVAL_S:
            return 0
        return max(0, self.expected_audience - present)


def require_open(room: str, schedule: Schedule, role: Role, now: float) -> None:
    """Raise `Refusal`, which says when to come, if the room does not let this role in yet."""
    if role is Role.HOST or schedule.opens_at_s is None or now >= schedule.opens_at_s:
        return
    detail = f"room {room!r} opens at {schedule.open_at}"
    raise Refusal(RefusalKind.ROOM_NOT_OPEN, detail, schedule.opens_at_s - now)

"""What an autoscaler reads."""

from broker.protocol.terms import Count, Message


class Wanted(Message, frozen=True, kw_only=True):
    """Machines of one kind. The first four are demand: units of drawing for nodes, viewers for edges."""

    now: float
    """With those who were refused in the last minute."""
    trend: float
    """In three minutes, if it goes on as in the last five."""
    scheduled: float
    """Of people whom rooms' schedules expect soon, and who are not here yet."""
    expected: float
    """The larger of the trend, and of what is now with what is scheduled."""
    ready: Count
    """Machines that take new work."""
    draining: Count
    wanted: Count
    """As many as keep three quarters of themselves in use. Fewer than are ready: drain some; never just stop them."""


class Scaling(Message, frozen=True):
    """Answer of `GET /v1/scaling`."""

    nodes: Wanted
    edges: Wanted

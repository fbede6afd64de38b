"""What an autoscaler reads."""

from broker.protocol.terms import Count, Message


class Wanted(Message, frozen=True, kw_only=True):
    """Machines of one kind. `now` and `expected` are demand: units of drawing for nodes, viewers for edges."""

    now: float
    expected: float
    """In three minutes, with those who were refused in the last one."""
    ready: Count
    """Machines that take new work."""
    draining: Count
    wanted: Count
    """As many as keep three quarters of themselves in use. Fewer than are ready: drain some; never just stop them."""


class Scaling(Message, frozen=True):
    """Answer of `GET /v1/scaling`."""

    nodes: Wanted
    edges: Wanted

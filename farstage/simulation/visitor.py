"""One person who is online."""

from dataclasses import dataclass

from broker.protocol import Viewport
from farstage.simulation.fleet import Edge, Node
from farstage.simulation.geography import Access, Home


@dataclass(slots=True, eq=False)
class Visitor:
    """A person, as they are in truth. Times are those of the agenda.

    `edge` is where their connection is, or was; `node` the one whose picture they see; `cause` why they see none since
    `dark_since`.
    """

    session: str
    room: str
    home: Home
    access: Access
    viewport: Viewport
    arrived_at: float
    edge: Edge | None = None
    rtt_ms: float = 0.0
    """To that edge."""
    connected: bool = False
    placed: bool = False
    node: Node | None = None
    picture_at: float | None = None
    """When the first picture came."""
    dark_since: float | None = None
    cause: str = ""
    tries: int = 0
    """To resume, since the connection was lost."""
    gone: bool = False

"""What has been used: for bills, for reports on energy, and for capacity planning."""

from broker.protocol.terms import Message


class Usage(Message, frozen=True, kw_only=True):
    """What was used. `cost` is in the operator's currency; energy and carbon include the data centre's overhead."""

    participant_s: float = 0.0
    """Seconds that participants were connected, added up."""
    unit_s: float = 0.0
    """Seconds of drawing and encoding a 1280x720 view at 30 frames/s, or their equivalent."""
    sent_bytes: float = 0.0
    """Media to viewers, as edges report it."""
    energy_wh: float = 0.0
    carbon_g: float = 0.0
    cost: float = 0.0


class UsageRow(Message, frozen=True, kw_only=True):
    """One room on one day (UTC, `2026-11-29`), or the sum over days, rooms or keys, whose name is then empty."""

    day: str
    room: str
    key: str
    """The id of the API key that made the room (`root`, `operator:NAME`); empty unless asked for, or unknown."""
    sessions: int
    usage: Usage


class UsageReport(Message, frozen=True):
    """`GET /v1/usage`: rows in order of day, room and key, and their sum."""

    rows: list[UsageRow]
    total: Usage

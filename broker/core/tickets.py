"""The record of somebody in a room's waiting room."""

from msgspec import Struct

from broker.protocol import Role, TicketState


class TicketRecord(Struct, kw_only=True):
    """One who waits to be let in, as their token says or a guest says.

    `deadline` ends it unless it is polled, `give_up_at` in any case; both in monotonic seconds of the core's `now`.
    `session` is the one that is being placed for it.
    """

    ticket: str
    room: str
    identity: str
    display_name: str
    role: Role
    asked_at: str
    token_id: str | None = None
    token_expires_at: float = 0.0
    """Unix seconds; of the join token."""
    state: TicketState = TicketState.WAITING
    deadline: float = 0.0
    give_up_at: float = 0.0
    session: str | None = None

"""A token is withdrawn: what it has brought about ends, wherever it has got to meanwhile."""

from broker.core import sessions, waiting
from broker.core.state import State
from broker.protocol import EndReason, TicketState


def revoke(state: State, token_id: str) -> None:
    """End the sessions and the waiting of whoever came with this token."""
    for session in [s for s in state.sessions.values() if s.token_id == token_id]:
        sessions.end(state, session, EndReason.TOKEN_REVOKED)
    for ticket in [t for t in state.tickets.values() if t.token_id == token_id]:
        waiting.end(state, ticket, TicketState.REFUSED)

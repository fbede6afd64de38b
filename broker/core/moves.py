"""The record of a participant who is to go to another room."""

from msgspec import Struct

from broker.protocol import Role


class MoveRecord(Struct, kw_only=True):
    """A place kept in room `to` for the bearer of a join token until `expires_at`, monotonic seconds."""

    token_id: str
    session: str
    room: str
    to: str
    role: Role
    expires_at: float

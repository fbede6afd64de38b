"""What a token says; who signs and checks it is in `broker.tokens`."""

from msgspec import Struct

TOKEN_ALGORITHM = "EdDSA"
AUDIENCE_JOIN = "farstage:join"
AUDIENCE_SESSION = "farstage:session"
AUDIENCE_PUBLISH = "farstage:publish"
AUDIENCE_NODE = "farstage:node"
AUDIENCE_EDGE = "farstage:edge"
AUDIENCE_TRUNK = "farstage:trunk"
AUDIENCE_TICKET = "farstage:ticket"
AUDIENCE_OPERATOR = "farstage:operator"


class Claims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Claims of every token (RFC 7519). `sub`: identity, session, ticket, node, edge or operator name, by audience.

    Join and publish tokens carry `room`, `role`, `name`; trunk tokens `sub` = the dialling process, `edge` = the one
    that accepts.
    """

    aud: str
    sub: str
    exp: int
    iat: int
    jti: str
    room: str | None = None
    role: str | None = None
    name: str | None = None
    edge: str | None = None

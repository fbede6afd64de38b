"""Tokens: how people, sessions, agents and operators prove who they are to each other.

Every token is a JWT (RFC 7519) signed with Ed25519 (RFC 8037); no other algorithm is ever accepted, so a token
cannot choose how it is checked. The signing key is derived from the deployment's one secret, so every broker
that has the secret signs alike, and edges verify with the public key alone. `now` is Unix time in seconds and
is always an argument.
"""

import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.protocol import TOKEN_ALGORITHM, Claims

MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 4096
"""Stops a client from making its verifier decode large tokens."""
CLOCK_SKEW_S = 60.0
"""How far in the future a token may have been issued: clocks of a fleet differ."""
_KEY_PURPOSE = b"farstage token signing key, version 1"
_REQUIRED = ["aud", "sub", "exp", "iat", "jti"]


class TokenRefusal(StrEnum):
    """Why a token was refused. Stable: metrics and problem documents carry it."""

    MISSING = "missing"
    MALFORMED = "malformed"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REPLAYED = "replayed"
    REVOKED = "revoked"
    WRONG_ROOM = "wrong_room"
    WRONG_SUBJECT = "wrong_subject"


class TokenRefused(Exception):
    """A token was not accepted; `reason` says why. The message never holds the token."""

    def __init__(self, reason: TokenRefusal) -> None:
        super().__init__(f"token refused: {reason.value}")
        self.reason = reason


def _signing_key(secret: bytes) -> Ed25519PrivateKey:
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"the token secret has {len(secret)} bytes; give at least {MIN_SECRET_BYTES} random ones")
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_KEY_PURPOSE).derive(secret)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _random_token_id() -> str:
    return secrets.token_urlsafe(16)


class TokenAuthority:
    """Signs tokens with the key derived from `secret` (at least 32 bytes, else `ValueError`)."""

    def __init__(self, secret: bytes, new_token_id: Callable[[], str] = _random_token_id) -> None:
        self._key = _signing_key(secret)
        self.new_token_id = new_token_id

    @property
    def public_key_pem(self) -> str:
        """The key that verifies this authority's tokens (SubjectPublicKeyInfo, PEM)."""
        pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem.decode("ascii")

    def mint(
        self,
        audience: str,
        subject: str,
        ttl_s: float,
        now: float,
        *,
        room: str | None = None,
        role: str | None = None,
        name: str | None = None,
        edge: str | None = None,
        token_id: str | None = None,
    ) -> str:
        """A token for `subject`, good for `audience` alone, from `now` for `ttl_s` seconds (rounded up).

        Who must know its id afterwards gives one of `new_token_id()`; else it gets one of its own.
        """
        claims = Claims(
            aud=audience,
            sub=subject,
            exp=int(-((-now - ttl_s) // 1)),
            iat=int(now),
            jti=token_id or self.new_token_id(),
            room=room,
            role=role,
            name=name,
            edge=edge,
        )
        return jwt.encode(msgspec.to_builtins(claims), self._key, algorithm=TOKEN_ALGORITHM)


class TokenVerifier:
    """Verifies tokens with an Ed25519 public key in PEM; any other kind of key is a `ValueError`."""

    def __init__(self, public_key_pem: str) -> None:
        key = serialization.load_pem_public_key(public_key_pem.encode("ascii"))
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("the token key is not an Ed25519 public key")
        self._key = key

    def verify(self, token: str, audience: str, now: float) -> Claims:
        """The claims of a good token for `audience`; raises `TokenRefused` with the reason otherwise.

        Single use and revocation are the broker's to check: they need shared state.
        """
        claims = self._claims(token, audience)
        if now >= claims.exp:
            raise TokenRefused(TokenRefusal.EXPIRED)
        if claims.iat > now + CLOCK_SKEW_S:
            raise TokenRefused(TokenRefusal.NOT_YET_VALID)
        return claims

    def _claims(self, token: str, audience: str) -> Claims:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenRefused(TokenRefusal.MALFORMED)
        try:
            return msgspec.convert(self._payload(token, audience), Claims)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise TokenRefused(TokenRefusal.SIGNATURE) from error
        except jwt.InvalidAudienceError as error:
            raise TokenRefused(TokenRefusal.AUDIENCE) from error
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError) as error:
            raise TokenRefused(TokenRefusal.MALFORMED) from error

    def _payload(self, token: str, audience: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            self._key,
            algorithms=[TOKEN_ALGORITHM],
            audience=audience,
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )

"""Signatures of webhooks (Standard Webhooks, specification 1.0.0, "Webhook scheme"): HMAC-SHA256 and its secrets.

A secret must be known to sign, so it is not kept as a hash but sealed (Fernet: AES-128-CBC and HMAC-SHA256) under a
key derived from the broker's own secret: who reads the store cannot sign.
"""

import base64
import hashlib
import hmac
import secrets

from cryptography.fernet import Fernet, InvalidToken

SECRET_MARK = "whsec_"
SECRET_BYTES = 32
"""The specification asks for 24 to 64."""
_PURPOSE = b"farstage webhook secrets v1"


class SecretUnreadable(Exception):
    """A sealed secret cannot be opened: the broker's secret has changed since; rotate the webhook's."""


def new_secret() -> str:
    """A fresh secret in its written form."""
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix(SECRET_MARK))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def headers(signing_secrets: list[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers; one signature for each secret that is good, the newest first."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp_s, body) for secret in signing_secrets),
    }


class Sealer:
    """Seals webhook secrets for the store."""

    def __init__(self, broker_secret: bytes) -> None:
        derived = hmac.digest(hashlib.sha256(broker_secret).digest(), _PURPOSE, "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: str) -> str:
        """What is kept of a secret."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret. Raises `SecretUnreadable`."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable("the broker's secret has changed; rotate the webhook's secret") from error

"""Signatures of webhooks against the specification's scheme, computed here by other means, and sealed secrets."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.webhook_signing import Sealer, SecretUnreadable, headers, new_secret, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
"""By `openssl dgst -sha256 -mac HMAC`, and as the specification's own libraries expect of these values."""


def test_the_signature_is_that_of_the_specifications_libraries():
    assert signature(SECRET, MESSAGE, 1614265330, BODY) == SIGNED


def test_the_headers_carry_a_signature_for_each_secret_that_is_good():
    other = new_secret()
    made = headers([other, SECRET], MESSAGE, 1614265330, BODY)
    assert made["webhook-id"] == MESSAGE
    assert made["webhook-timestamp"] == "1614265330"
    first, second = made["webhook-signature"].split(" ")
    assert second == SIGNED
    assert first == signature(other, MESSAGE, 1614265330, BODY)


@given(st.binary(max_size=200), st.integers(0, 2**33))
def test_any_body_is_signed_as_id_timestamp_and_body(body, timestamp):
    secret = new_secret()
    version, _, value = signature(secret, "msg_1", timestamp, body).partition(",")
    key = base64.b64decode(secret[len("whsec_") :], validate=True)
    expected = hmac.new(key, b"msg_1." + str(timestamp).encode() + b"." + body, hashlib.sha256).digest()
    assert (version, base64.b64decode(value, validate=True)) == ("v1", expected)


def test_secrets_are_as_long_as_the_specification_asks_and_never_the_same():
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64 for secret in made)


def test_a_sealed_secret_is_opened_by_the_brokers_secret_only():
    sealed = Sealer(b"a" * 32).seal(SECRET)
    assert "MfKQ9r8" not in sealed
    assert Sealer(b"a" * 32).open(sealed) == SECRET
    with pytest.raises(SecretUnreadable, match="rotate"):
        Sealer(b"b" * 32).open(sealed)
    with pytest.raises(SecretUnreadable):
        Sealer(b"a" * 32).open(sealed[:-8] + "AAAAAAAA")


def test_the_code_that_operators_are_given_accepts_what_is_genuine_and_nothing_else():
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
    [block] = re.findall(r"```python\n(def is_genuine.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"base64": base64, "hmac": hmac, "Mapping": Mapping}
    exec(block, names)
    is_genuine, now, other = names["is_genuine"], 1614265330, new_secret()
    made = headers([other, SECRET], MESSAGE, now, BODY)
    assert is_genuine(SECRET, made, BODY, now)
    assert is_genuine(other, made, BODY, now + 299)
    assert not is_genuine(new_secret(), made, BODY, now)
    assert not is_genuine(SECRET, made, BODY + b" ", now)
    assert not is_genuine(SECRET, made, BODY, now + 301)
    assert not is_genuine(SECRET, made | {"webhook-id": "msg_other"}, BODY, now)
    assert not is_genuine(SECRET, made | {"webhook-signature": SIGNED.replace("v1,", "v2,")}, BODY, now)

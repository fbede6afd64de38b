"""Tokens are accepted for what they say and refused, with a stable reason, for everything else."""

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol import AUDIENCE_JOIN, AUDIENCE_NODE
from broker.tokens import TokenAuthority, TokenRefusal, TokenRefused, TokenVerifier

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_900_000_000.0


@pytest.fixture(scope="module")
def authority() -> TokenAuthority:
    return TokenAuthority(SECRET)


@pytest.fixture(scope="module")
def verifier(authority: TokenAuthority) -> TokenVerifier:
    return TokenVerifier(authority.public_key_pem)


def refusal(verifier: TokenVerifier, token: str, audience: str = AUDIENCE_JOIN, now: float = NOW) -> TokenRefusal:
    with pytest.raises(TokenRefused) as caught:
        verifier.verify(token, audience, now)
    return caught.value.reason


def test_claims_come_back_as_minted(authority, verifier):
    token = authority.mint(AUDIENCE_JOIN, "alice", 60, NOW, room="demo", role="host", name="Älice 先生")
    claims = verifier.verify(token, AUDIENCE_JOIN, NOW + 59)
    assert (claims.sub, claims.room, claims.role, claims.name) == ("alice", "demo", "host", "Älice 先生")
    assert claims.exp == NOW + 60
    assert claims.edge is None


def test_the_key_depends_on_the_secret_alone(authority):
    assert TokenAuthority(SECRET).public_key_pem == authority.public_key_pem
    assert TokenAuthority(SECRET[::-1]).public_key_pem != authority.public_key_pem


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="at least 32"):
        TokenAuthority(b"short")


def test_token_ids_differ(authority, verifier):
    tokens = {authority.mint(AUDIENCE_JOIN, "a", 60, NOW) for _ in range(20)}
    assert len({verifier.verify(token, AUDIENCE_JOIN, NOW).jti for token in tokens}) == 20


def test_an_expired_token_is_refused(authority, verifier):
    token = authority.mint(AUDIENCE_JOIN, "a", 60, NOW)
    assert refusal(verifier, token, now=NOW + 60) is TokenRefusal.EXPIRED


def test_a_token_from_the_future_is_refused(authority, verifier):
    token = authority.mint(AUDIENCE_JOIN, "a", 600, NOW + 120)
    assert refusal(verifier, token) is TokenRefusal.NOT_YET_VALID


def test_a_token_for_another_audience_is_refused(authority, verifier):
    assert refusal(verifier, authority.mint(AUDIENCE_NODE, "n1", 60, NOW)) is TokenRefusal.AUDIENCE


def test_a_token_of_another_authority_is_refused(verifier):
    token = TokenAuthority(b"x" * 32).mint(AUDIENCE_JOIN, "a", 60, NOW)
    assert refusal(verifier, token) is TokenRefusal.SIGNATURE


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_cannot_choose_its_algorithm(verifier, algorithm):
    claims = {"aud": AUDIENCE_JOIN, "sub": "a", "exp": int(NOW) + 60, "iat": int(NOW), "jti": "1"}
    token = jwt.encode(claims, "k" * 64 if algorithm == "HS256" else None, algorithm=algorithm)
    assert refusal(verifier, token) is TokenRefusal.SIGNATURE


@pytest.mark.parametrize("missing", ["sub", "exp", "iat", "jti"])
def test_every_registered_claim_is_required(authority, verifier, missing):
    claims = {"aud": AUDIENCE_JOIN, "sub": "a", "exp": int(NOW) + 60, "iat": int(NOW), "jti": "1"}
    del claims[missing]
    assert refusal(verifier, jwt.encode(claims, authority._key, algorithm="EdDSA")) is TokenRefusal.MALFORMED


@given(st.text(max_size=200) | st.just("a" * 5000))
def test_garbage_is_refused_as_malformed_or_unsigned(text):
    verifier = TokenVerifier(TokenAuthority(SECRET).public_key_pem)
    assert refusal(verifier, text) in (TokenRefusal.MALFORMED, TokenRefusal.SIGNATURE)

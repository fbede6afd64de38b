"""Idempotency keys: what is sent again is not carried out twice, and nobody gets another's answer."""

import asyncio
import uuid

import pytest

from broker.api import idempotent_answers
from broker.api.idempotent_answers import IdempotentAnswers
from broker.api.problems import ApiError
from tests.support.broker_server import Api, running_broker


@pytest.fixture
async def api():
    async with running_broker() as api:
        await api.node()
        await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        yield api


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


async def test_a_room_is_made_once_however_often_its_request_is_sent(api: Api):
    headers = keyed()
    first = await api.call("POST", "/v1/rooms", {"mode": "gallery"}, headers=headers)
    again = await api.call("POST", "/v1/rooms", {"mode": "gallery"}, headers=headers)
    assert (first[0], again[0]) == (201, 201)
    assert first[1] == again[1]
    assert again[2]["Location"] == first[2]["Location"]
    assert (again[2].get("Idempotency-Replayed"), first[2].get("Idempotency-Replayed")) == ("true", None)
    assert len((await api.ok("GET", "/v1/rooms"))["rooms"]) == 2
    other = await api.call("POST", "/v1/rooms", {"mode": "gallery"}, headers=keyed())
    assert other[1]["room"] != first[1]["room"]


async def test_a_join_whose_answer_was_lost_takes_no_second_place_and_its_token_is_not_spent(api: Api):
    token, headers = await api.join_token(), keyed()
    first = await api.call("POST", "/v1/rooms/demo/join", {}, token=token, headers=headers)
    again = await api.call("POST", "/v1/rooms/demo/join", {}, token=token, headers=headers)
    assert (first[0], again[0], again[1]) == (201, 201, first[1])
    assert len((await api.ok("GET", "/v1/rooms/demo/participants"))["participants"]) == 1
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=token) == (403, "token-replayed")


async def test_the_same_key_with_another_body_is_a_mistake(api: Api):
    headers = keyed()
    await api.ok("POST", "/v1/rooms", {"room": "a"}, headers=headers)
    assert await api.problem("POST", "/v1/rooms", {"room": "b"}, headers=headers) == (422, "idempotency-key-reused")


async def test_a_key_belongs_to_its_bearer_and_path(api: Api):
    headers = keyed()
    ada = await api.ok("POST", "/v1/rooms/demo/join", {}, token=await api.join_token(), headers=headers)
    bohr = await api.ok("POST", "/v1/rooms/demo/join", {}, token=await api.join_token(identity="bohr"), headers=headers)
    assert ada["session"] != bohr["session"]
    await api.ok("POST", "/v1/rooms", {}, headers=headers)


async def test_what_was_refused_may_be_tried_again_with_the_same_key(api: Api):
    headers = keyed()
    await api.ok("PUT", "/v1/rooms/demo/lock")
    guest = {"display_name": "Ada"}
    refused = await api.problem("POST", "/v1/rooms/demo/join", guest, token=None, headers=headers)
    assert refused == (423, "room-locked")
    await api.ok("DELETE", "/v1/rooms/demo/lock")
    await api.ok("POST", "/v1/rooms/demo/join", guest, token=None, headers=headers)


async def test_two_at_once_are_one(api: Api):
    headers = keyed()
    answers = await asyncio.gather(
        *(api.call("POST", "/v1/rooms", {"room": "once"}, headers=headers) for _ in range(8))
    )
    assert {status for status, _, _ in answers} <= {201, 409}
    assert {answer["room"] for status, answer, _ in answers if status == 201} == {"once"}
    assert all(answer["type"].endswith(":still-working") for status, answer, _ in answers if status == 409)


@pytest.mark.parametrize("key", ["short", "x" * 129, "with\ttab and more"])
async def test_keys_that_cannot_be_are_refused(api: Api, key: str):
    assert await api.problem("POST", "/v1/rooms", {}, headers=keyed(key)) == (400, "bad-idempotency-key")


async def test_who_may_not_do_it_is_not_answered_from_memory(api: Api):
    grant = await api.ok("POST", "/v1/api-keys", {"name": "shop", "scopes": ["rooms:write"]})
    headers = keyed()
    await api.ok("POST", "/v1/rooms", {"room": "mine"}, token=grant["secret"], headers=headers)
    await api.ok("DELETE", f"/v1/api-keys/{grant['api_key']['key']}")
    status, _ = await api.problem("POST", "/v1/rooms", {"room": "mine"}, token=grant["secret"], headers=headers)
    assert status == 401


def test_answers_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idempotent_answers, "MAX_KEPT", 3)
    answers = IdempotentAnswers()
    for number in range(5):
        assert answers.find(b"%d" % number, b"same", float(number)) is None
    assert answers.find(b"1", b"another body", 5.0) is None, "forgotten"
    with pytest.raises(ApiError):
        answers.find(b"4", b"another body", 5.0)
    assert answers.find(b"4", b"another body", 5.0 + idempotent_answers.KEPT_S) is None

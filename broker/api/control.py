"""`GET /v1/control`: the WebSocket that edges and nodes hold to the broker.

The bearer token says which kind of agent dials and its name; the first message must register exactly that agent,
in time. What does not follow the protocol is closed with 1008 and a reason, and counted.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from broker.api.auth import bearer_token
from broker.api.controller import Controller, StandingBy
from broker.api.keys import CONTROLLER
from broker.api.links import MAX_CLOSE_REASON_BYTES, AgentLink
from broker.api.problems import from_token
from broker.core.effects import AgentKey, AgentKind
from broker.core.refusals import Refusal
from broker.protocol import (
    AUDIENCE_EDGE,
    AUDIENCE_NODE,
    MAX_CONTROL_MESSAGE_BYTES,
    AgentMessage,
    RegisterEdge,
    RegisterNode,
    Welcome,
    decode_agent_message,
    encode,
)
from broker.protocol.report_batch import MalformedReports, ReportBatch, decode_reports
from broker.tokens import TokenRefusal, TokenRefused

log = structlog.get_logger("broker")


class ProtocolViolation(Exception):
    """The agent sent what it must not; the message is the close reason."""


async def control(request: web.Request) -> web.StreamResponse:
    """Serve one agent for as long as it stays. Raises `ApiError` when the token is not accepted."""
    controller = request.app[CONTROLLER]
    key = _authenticate(controller, request)
    socket = web.WebSocketResponse(max_msg_size=MAX_CONTROL_MESSAGE_BYTES, timeout=5.0)
    await socket.prepare(request)
    try:
        registration = await _registration(controller, socket, key)
        link = AgentLink(key, socket, _aborter(request), controller.settings.agent_write_limit_s)
        await _serve(controller, socket, link, registration)
    except ProtocolViolation as violation:
        controller.metrics.malformed.labels("control").inc()
        log.warning("control connection refused", agent=str(key), reason=str(violation))
        reason = str(violation).encode()[:MAX_CLOSE_REASON_BYTES]
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason)
    except StandingBy:
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"another broker leads")
    except Exception as error:
        controller.metrics.faults.inc()
        log.error("control connection failed", agent=str(key), exc_info=error)
        await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=b"the broker failed")
    return socket


def _authenticate(controller: Controller, request: web.Request) -> AgentKey:
    """The agent the bearer token names."""
    token = bearer_token(request)
    refused = TokenRefused(TokenRefusal.MISSING)
    for audience, kind in ((AUDIENCE_NODE, AgentKind.NODE), (AUDIENCE_EDGE, AgentKind.EDGE)):
        try:
            if token is not None:
                claims = controller.verifier.verify(token, audience, controller.unix_now())
                return AgentKey(kind, claims.sub)
        except TokenRefused as error:
            refused = error
    controller.metrics.tokens_refused.labels(refused.reason.value).inc()
    raise from_token(refused)


async def _registration(
    controller: Controller, socket: web.WebSocketResponse, key: AgentKey
) -> RegisterNode | RegisterEdge:
    try:
        message = await _receive(socket, controller.settings.register_timeout_s)
    except TimeoutError as error:
        raise ProtocolViolation("no registration in time") from error
    match message:
        case RegisterNode() if key == AgentKey(AgentKind.NODE, message.node):
            return message
        case RegisterEdge() if key == AgentKey(AgentKind.EDGE, message.edge):
            return message
        case RegisterNode() | RegisterEdge():
            raise ProtocolViolation("the registration names another agent than the token")
        case _:
            raise ProtocolViolation("the first message must be a registration")


async def _receive(socket: web.WebSocketResponse, timeout_s: float) -> AgentMessage | ReportBatch | None:
    """The next message, or `None` when the socket is closed. Raises `ProtocolViolation`, `TimeoutError`."""
    message: WSMessage = await socket.receive(timeout_s)
    if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        return None
    if message.type is WSMsgType.BINARY:
        return _reports(message.data)
    if message.type is not WSMsgType.TEXT:
        raise ProtocolViolation("messages are JSON text or reports")
    try:
        decoded: AgentMessage = decode_agent_message(message.data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ProtocolViolation(f"malformed: {error}") from error
    return decoded


def _reports(data: bytes) -> ReportBatch:
    try:
        return decode_reports(data)
    except MalformedReports as error:
        raise ProtocolViolation(f"malformed: {error}") from error


async def _serve(
    controller: Controller,
    socket: web.WebSocketResponse,
    link: AgentLink,
    registration: RegisterNode | RegisterEdge,
) -> None:
    link.send(encode(_welcome(controller)))
    controller.link(link)
    writing = asyncio.create_task(link.run())
    try:
        await controller.step(lambda: controller.brain.register(registration, controller.now()))
        log.info("agent registered", agent=str(link.key), version=registration.version)
        await controller.record_newcomer(link.key)
        await _listen(controller, socket, link)
    finally:
        await _leave(controller, link, writing)


def _aborter(request: web.Request) -> Callable[[], None]:
    """Cuts the connection at once, whatever is still unsent."""
    transport = request.transport
    return transport.abort if transport is not None else lambda: None


def _welcome(controller: Controller) -> Welcome:
    return Welcome(
        broker=controller.settings.name,
        heartbeat_interval_s=controller.settings.heartbeat_interval_s,
        token_public_key=controller.authority.public_key_pem,
    )


async def _listen(controller: Controller, socket: web.WebSocketResponse, link: AgentLink) -> None:
    while True:
        try:
            message = await _receive(socket, controller.settings.agent_silence_s)
        except TimeoutError as error:
            raise ProtocolViolation("silent for too long") from error
        if message is None or not controller.is_linked(link):
            return
        await _handle(controller, link.key, message)


async def _handle(controller: Controller, key: AgentKey, message: AgentMessage | ReportBatch) -> None:
    try:
        await controller.step(lambda: controller.brain.agent_message(key, message, controller.now()))
    except Refusal as refusal:
        raise ProtocolViolation(refusal.detail) from refusal


async def _leave(controller: Controller, link: AgentLink, writing: asyncio.Task[None]) -> None:
    """Let what is queued be written for a moment; the core learns of it unless a newer connection has taken over."""
    was_current = controller.is_linked(link)
    controller.forget(link)
    await asyncio.wait([writing], timeout=1.0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    if was_current:
        log.info("agent disconnected", agent=str(link.key))
        await controller.step(lambda: controller.brain.disconnected(link.key, controller.now()))

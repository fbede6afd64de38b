"""Where the application keeps what its handlers need."""

import aiohttp
from aiohttp import web

from broker.api.audit import AuditLog
from broker.api.client_address import Network
from broker.api.controller import Controller
from broker.api.idempotent_answers import IdempotentAnswers
from broker.api.rate_limit import KeyLimiter, RateLimiter
from broker.api.webhook_sender import WebhookSender
from broker.protocol import Scope

CONTROLLER: web.AppKey[Controller] = web.AppKey("controller", Controller)
GUEST_LIMITER: web.AppKey[RateLimiter] = web.AppKey("guest_limiter", RateLimiter)
RESHAPE_LIMITER: web.AppKey[RateLimiter] = web.AppKey("reshape_limiter", RateLimiter)
PUBLISH_LIMITER: web.AppKey[RateLimiter] = web.AppKey("publish_limiter", RateLimiter)
KEY_LIMITER: web.AppKey[KeyLimiter] = web.AppKey("key_limiter", KeyLimiter)
SCOPE: web.RequestKey[Scope] = web.RequestKey("scope", Scope)
"""What the route needs of an operator, as the route table says."""
TICKET_LIMITER: web.AppKey[RateLimiter] = web.AppKey("ticket_limiter", RateLimiter)
DATA_LIMITER: web.AppKey[RateLimiter] = web.AppKey("data_limiter", RateLimiter)
IDEMPOTENCY: web.AppKey[IdempotentAnswers] = web.AppKey("idempotency", IdempotentAnswers)
AUDIT_LOG: web.AppKey[AuditLog] = web.AppKey("audit_log", AuditLog)
PROBLEM: web.RequestKey[str] = web.RequestKey("problem", str)
"""The kind of the problem document that answers the request."""
WEBHOOK_SENDER: web.AppKey[WebhookSender] = web.AppKey("webhook_sender", WebhookSender)
EDGE_HTTP: web.AppKey[aiohttp.ClientSession] = web.AppKey("edge_http", aiohttp.ClientSession)
TRUSTED_PROXIES: web.AppKey[tuple[Network, ...]] = web.AppKey("trusted_proxies", tuple)

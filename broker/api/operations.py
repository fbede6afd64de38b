"""Handlers for those who run the broker: liveness, readiness, metrics, and the API's documentation."""

import asyncio
from pathlib import Path

from aiohttp import web

from broker.api import openapi
from broker.api.keys import CONTROLLER
from broker.api.problems import ApiError

_DOCS_PAGE = Path(__file__).with_name("docs.html")
_DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


async def livez(request: web.Request) -> web.Response:
    """200 while the process serves; it says nothing about the store, so an outage there restarts nobody."""
    return web.Response(text="alive\n")


async def readyz(request: web.Request) -> web.Response:
    """200 while new work can be taken on; 503 while the store does not answer or another broker decides."""
    controller = request.app[CONTROLLER]
    if not (await controller.confirm_lead() and controller.store_ready):
        raise ApiError("not-ready", 503, "Not ready", "the store does not answer, or another broker leads", 1.0)
    return web.Response(text="ready\n")


async def metrics(request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    controller = request.app[CONTROLLER]
    body = controller.metrics.expose(controller.brain.state, controller.now())
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def openapi_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    return web.Response(body=openapi.document(), content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    """A page to read the OpenAPI document; it needs nothing from elsewhere."""
    page = await asyncio.to_thread(_DOCS_PAGE.read_text, "utf-8")
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _DOCS_POLICY})


def register(app: web.Application) -> None:
    """Add these routes to the application."""
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/v1/openapi.json", openapi_document)
    app.router.add_get("/v1/docs", docs)

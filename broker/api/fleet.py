"""Handlers of nodes and edges: what operators see, and draining."""

from aiohttp import web

from broker.api.bodies import json_response, read_body
from broker.api.keys import CONTROLLER
from broker.api.presentation import show_edge, show_node
from broker.core.effects import AgentKey, AgentKind
from broker.core.state import EdgeRecord, NodeRecord
from broker.core.wanted import scaling
from broker.protocol import DrainRequest, EdgeList, NodeList


async def list_nodes(request: web.Request) -> web.Response:
    """All render nodes."""
    controller = request.app[CONTROLLER]
    state, now = controller.brain.state, controller.now()
    return json_response(NodeList(nodes=[show_node(state, state.nodes[name], now) for name in sorted(state.nodes)]))


async def list_edges(request: web.Request) -> web.Response:
    """All edges."""
    controller = request.app[CONTROLLER]
    state, now = controller.brain.state, controller.now()
    return json_response(EdgeList(edges=[show_edge(state, state.edges[name], now) for name in sorted(state.edges)]))


async def get_scaling(request: web.Request) -> web.Response:
    """How many nodes and edges will be wanted shortly."""
    controller = request.app[CONTROLLER]
    return json_response(scaling(controller.brain.state, controller.now()))


def _key(request: web.Request) -> AgentKey:
    if "node" in request.match_info:
        return AgentKey(AgentKind.NODE, request.match_info["node"])
    return AgentKey(AgentKind.EDGE, request.match_info["edge"])


def _show(request: web.Request) -> web.Response:
    controller = request.app[CONTROLLER]
    state, now = controller.brain.state, controller.now()
    match state.agent(_key(request)):
        case NodeRecord() as node:
            return json_response(show_node(state, node, now))
        case EdgeRecord() as edge:
            return json_response(show_edge(state, edge, now))


async def drain(request: web.Request) -> web.Response:
    """Give it no new work, move what it has, end the rest at the deadline."""
    controller, key = request.app[CONTROLLER], _key(request)
    body = await read_body(request, DrainRequest)
    await controller.step(lambda: controller.brain.drain(key, body.deadline_s, controller.now()))
    return _show(request)


async def cancel_drain(request: web.Request) -> web.Response:
    """Call a drain off; it takes work again."""
    controller, key = request.app[CONTROLLER], _key(request)
    await controller.step(lambda: controller.brain.cancel_drain(key))
    return _show(request)

"""Handlers of the whole as operators see it: regions and their drains, moves, networks."""

from aiohttp import web

from broker.api.bodies import json_response, read_body
from broker.api.keys import CONTROLLER
from broker.api.presentation import show_move
from broker.core.fleet import agents_of
from broker.core.regions import regions
from broker.protocol import DrainRequest, MoveList, Network, NetworkList, RegionList
from broker.protocol.regions import MAX_SHOWN


async def list_regions(request: web.Request) -> web.Response:
    """All regions."""
    return json_response(RegionList(regions=regions(request.app[CONTROLLER].brain.state)))


async def drain_region(request: web.Request) -> web.Response:
    """Give a region no new work, move what it has, end the rest at the deadline."""
    controller, region = request.app[CONTROLLER], request.match_info["region"]
    body = await read_body(request, DrainRequest)
    await controller.step(lambda: controller.brain.drain_region(region, body.deadline_s, controller.now()))
    return _show(request)


async def cancel_region_drain(request: web.Request) -> web.Response:
    """Call a region's drain off; it takes work again."""
    controller, region = request.app[CONTROLLER], request.match_info["region"]
    await controller.step(lambda: controller.brain.cancel_region_drain(region))
    return _show(request)


def _show(request: web.Request) -> web.Response:
    state, name = request.app[CONTROLLER].brain.state, request.match_info["region"]
    agents_of(state, name)
    return json_response(next(region for region in regions(state) if region.region == name))


async def list_moves(request: web.Request) -> web.Response:
    """The last moves of views between nodes."""
    moves = [show_move(moved) for moved in request.app[CONTROLLER].moves.latest]
    return json_response(MoveList(moves=moves))


async def list_networks(request: web.Request) -> web.Response:
    """What lines from networks to regions have shown."""
    telemetry = request.app[CONTROLLER].brain.state.telemetry
    pairs = [Network(**pair._asdict()) for pair in telemetry.networks.pairs(MAX_SHOWN)]
    refused = {cause.value: count for cause, count in sorted(telemetry.refused.items())}
    return json_response(NetworkList(networks=pairs, reports_refused=refused))

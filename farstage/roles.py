"""Runs one role in this process: its application, its port, its signals.

A role's packages are imported when it is run, so that an edge needs no renderer and a broker no codecs.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web
from msgspec.structs import replace

from farstage.collector import calm_down
from farstage.config import BrokerConfig, Config, ConfigError, EdgeConfig, NodeConfig

WEB_ROOT = Path(__file__).resolve().parent.parent / "client_demo" / "web"
PARENT_POLL_S = 0.5
SHUTDOWN_TIMEOUT_S = 5.0
MIN_SECRET_CHARACTERS = 32
DRAIN_S = 10.0


def broker_app(config: BrokerConfig) -> web.Application:
    """The broker's application. Raises `ConfigError` for missing secrets and for settings it cannot use."""
    from broker.api.app import BrokerSettings, create_app
    from broker.core.cascade import Limits
    from broker.core.picture import PictureLimits
    from broker.core.prices import Values
    from broker.core.state import CoreSettings

    if len(config.secret) < MIN_SECRET_CHARACTERS:
        raise ConfigError(
            f"broker.secret needs at least {MIN_SECRET_CHARACTERS} characters; make one with: openssl rand -hex 32"
        )
    if not config.api_key:
        raise ConfigError("broker.api_key is empty; operators need one")
    picture = PictureLimits(
        max_long_side=config.max_long_side,
        max_pixels=config.max_long_side**2 * 9 // 16,
        fps=config.max_fps,
        stage_layers=config.stage_layers,
    )
    try:
        settings = BrokerSettings(
            secret=config.secret.encode(),
            api_key=config.api_key,
            store_url=config.store_url,
            public_url=config.public_url,
            web_root=WEB_ROOT,
            name=config.name,
            policy=config.policy,
            guest_joins_per_minute=config.guest_joins_per_minute,
            trusted_proxies=tuple(config.trusted_proxies),
            core=CoreSettings(
                picture=picture,
                fan_out=Limits(config.node_fan_out, config.edge_fan_out),
                values=Values(weights=config.weights, sites=config.sites),
            ),
            key_requests_per_minute=config.key_requests_per_minute,
            key_max_rooms=config.key_max_rooms,
        )
        return create_app(settings)
    except ValueError as error:
        raise ConfigError(f"broker.{error}") from error


def edge_app(config: EdgeConfig) -> web.Application:
    """The edge's application. Raises `ConfigError` without a token, and for an engine or port it cannot have."""
    from edge.app import EdgeSettings, create_app
    from edge.engine_choice import EngineMissing

    _require_token("edge", config.token)
    own_url = f"http://{config.host}:{config.port}"
    settings = EdgeSettings(
        edge=config.id,
        region=config.region,
        broker_url=config.broker_url,
        token=config.token,
        public_url=(config.public_url or own_url).rstrip("/"),
        trunk_url=config.trunk_url or own_url.replace("http", "ws", 1) + "/trunk",
        engine=config.engine,
        max_viewers=config.max_viewers,
        host_addresses=tuple(config.host_addresses),
        announced_addresses=tuple(config.announced_addresses),
        media_port=config.media_port,
        playout_delay_ms=(0, config.playout_delay_ms),
        shards=config.shards,
        drain_s=DRAIN_S if config.drain_s is None else config.drain_s,
    )
    try:
        return create_app(settings)
    except EngineMissing as error:
        raise ConfigError(f"edge.engine: {error}") from error
    except OSError as error:
        raise ConfigError(f"edge.media_port {config.media_port}: {error}") from error


def node_app(config: NodeConfig) -> web.Application:
    """The node's application. Raises `ConfigError` without a token."""
    from render_farm.app import NodeProcessSettings, create_app

    _require_token("node", config.token)
    settings = NodeProcessSettings(
        node=config.id,
        region=config.region,
        broker_url=config.broker_url,
        token=config.token,
        renderer=config.renderer,
        barcode=config.barcode,
        scene_dirs=tuple(Path(folder) for folder in config.scene_dirs),
        promised_units=config.units,
        drain_s=DRAIN_S if config.drain_s is None else config.drain_s,
    )
    return create_app(settings)


def _require_token(role: str, token: str) -> None:
    if not token:
        raise ConfigError(f"{role}.token is empty; make one on the broker with: farstage token {role} NAME")


_APPS: dict[str, Callable[[Config], tuple[web.Application, str, int]]] = {
    "broker": lambda config: (broker_app(config.broker), config.broker.host, config.broker.port),
    "edge": lambda config: (edge_app(config.edge), config.edge.host, config.edge.port),
    "node": lambda config: (node_app(config.node), config.node.host, config.node.port),
}


def run(role: str, config: Config, *, supervised_by: int = 0) -> None:
    """Serve `role` until SIGTERM or SIGINT.

    On SIGTERM an edge or node first waits `drain_s` for its work to go elsewhere (`broker.departure`).
    `supervised_by`, the parent's process id: also stop when it is gone, and on SIGTERM at once unless `drain_s` is set.
    """
    if supervised_by:
        config = without_drain(config)
    app, host, port = _APPS[role](config)
    check_port(host, port, role)
    if supervised_by:
        threading.Thread(target=_die_with_parent, args=(supervised_by,), daemon=True).start()
    calm_down()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    web.run_app(app, host=host, port=port, print=None, access_log=None, loop=loop, shutdown_timeout=SHUTDOWN_TIMEOUT_S)


def without_drain(config: Config) -> Config:
    """For who stops all roles together: edges and nodes wait for nobody, unless their configuration asks them to."""
    edge, node = config.edge, config.node
    return replace(
        config,
        edge=replace(edge, drain_s=edge.drain_s or 0.0),
        node=replace(node, drain_s=node.drain_s or 0.0),
    )


def check_port(host: str, port: int, role: str) -> None:
    """Raise `ConfigError` if the port cannot be bound."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} for the {role}: {error.strerror}; "
                f"stop what uses it or choose another with --set {role}.port=N"
            ) from error


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(0)

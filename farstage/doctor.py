"""`farstage doctor`: what this machine can do, and what to install for the rest."""

import asyncio
import os
import platform
import shutil
import socket
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from broker.protocol import Codec
from edge.engine_choice import AIORTC, HOW_TO_BUILD, NATIVE, native_is_built
from farstage.config import Config
from render_farm.encoder.opening import available_encoders
from render_farm.renderer.interface import RenderError, RendererSettings


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    MISSING = "missing"
    OPTIONAL = "optional"


class Finding(msgspec.Struct):
    """One thing that was looked at; `remedy` says what to do when it is not there."""

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def examine(config: Config) -> list[Finding]:
    """Look at everything; takes a few seconds."""
    checks: list[Callable[[Config], Finding]] = [_machine, _gpu, _h264, _vp8, _engine, _ports, _redis, _chromium]
    return [check(config) for check in checks]


def _machine(_: Config) -> Finding:
    detail = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return Finding("machine", Verdict.OK, detail)


def _gpu(_: Config) -> Finding:
    from render_farm.renderer.wgpu_renderer import WgpuRenderer

    try:
        renderer = WgpuRenderer.create(RendererSettings())
    except RenderError as error:
        remedy = "install a GPU driver with Vulkan, or Debian's mesa-vulkan-drivers; the CPU renderer works without"
        return Finding("renderer", Verdict.OPTIONAL, str(error), remedy)
    device = renderer.device
    renderer.close()
    software = "llvmpipe" in device.lower()
    remedy = "a software driver draws a few views only; a GPU draws many" if software else ""
    return Finding("renderer", Verdict.OK, f"wgpu on {device}", remedy)


def _h264(_: Config) -> Finding:
    return _encoder(Codec.H264)


def _vp8(_: Config) -> Finding:
    return _encoder(Codec.VP8)


def _encoder(codec: Codec) -> Finding:
    name = available_encoders().get(codec)
    if name is None:
        return Finding(f"{codec.value} encoder", Verdict.MISSING, "none opens", "reinstall the package av from PyPI")
    remedy = "" if name != "libx264" else "with an NVIDIA GPU that has NVENC, views are encoded there instead"
    return Finding(f"{codec.value} encoder", Verdict.OK, name, remedy)


def _engine(config: Config) -> Finding:
    wanted = config.edge.engine
    if native_is_built():
        detail = "native" if wanted != AIORTC else "aiortc, as configured; the native one is built too"
        return Finding("media engine", Verdict.OK, detail)
    verdict = Verdict.MISSING if wanted == NATIVE else Verdict.OPTIONAL
    return Finding("media engine", verdict, "aiortc only, for tens of viewers", HOW_TO_BUILD)


def _ports(config: Config) -> Finding:
    busy = [
        f"{name} {section.port}"
        for name, section in (("broker", config.broker), ("edge", config.edge), ("node", config.node))
        if not _can_listen(section.host, section.port)
    ]
    if busy:
        remedy = "stop what uses them (perhaps farstage itself is running) or set other ports"
        return Finding("ports", Verdict.MISSING, f"in use: {', '.join(busy)}", remedy)
    return Finding("ports", Verdict.OK, f"{config.broker.port}, {config.edge.port}, {config.node.port} are free")


def _can_listen(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _redis(config: Config) -> Finding:
    if config.broker.store_url.startswith("memory"):
        server = shutil.which("redis-server") or shutil.which("valkey-server")
        detail = "not configured; the broker keeps its state in memory"
        remedy = "" if server else "for several brokers or restarts without loss: apt-get install redis-server"
        return Finding("Redis", Verdict.OPTIONAL, detail, remedy)
    where = urlsplit(config.broker.store_url)
    try:
        asyncio.run(_ping(config.broker.store_url))
    except (OSError, TimeoutError, ValueError) as error:
        return Finding("Redis", Verdict.MISSING, f"{where.hostname}:{where.port or 6379}: {error}", "start it")
    return Finding("Redis", Verdict.OK, f"{where.hostname}:{where.port or 6379} answers")


async def _ping(url: str) -> None:
    import redis.asyncio as redis
    from redis.exceptions import RedisError

    client = redis.Redis.from_url(url, socket_timeout=2.0)
    try:
        await client.ping()
    except RedisError as error:
        raise OSError(str(error)) from error
    finally:
        await client.aclose()


def _chromium(_: Config) -> Finding:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        return Finding("Chromium", Verdict.OPTIONAL, "not found", "for the browser tests: apt-get install chromium")
    return Finding("Chromium", Verdict.OK, path)

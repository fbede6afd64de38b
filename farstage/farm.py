"""All roles on one machine: `farstage up`, the end-to-end tests and the benchmarks start and stop a `Farm`.

Every role is a process of its own, as in production, so that one can be killed and the others go on. Children stop
when the farm stops, and by themselves when the farm's own process is gone.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp
import msgspec

from broker.protocol import AUDIENCE_EDGE, AUDIENCE_NODE
from broker.tokens import TokenAuthority
from farstage.config import Config
from farstage.roles import check_port

TOKEN_TTL_S = 365 * 86_400.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
RESTART_PAUSE_S = 1.0


class FarmError(Exception):
    """A role did not start; the message holds the end of its log."""


@dataclass(slots=True)
class Role:
    """One child process."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ready_url: str
    log_path: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, with its output appended to its log."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines: int = 12) -> str:
        """The end of the log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


@dataclass(slots=True)
class FarmSettings:
    """`base`: configuration every role starts from; ports of further edges and nodes follow those in it."""

    base: Config
    state_dir: Path
    nodes: int = 1
    edges: int = 1
    progress: Callable[[str], None] = field(default=lambda _: None)


class Secrets(msgspec.Struct, frozen=True):
    """What a local farm keeps between starts, readable by its owner only."""

    secret: str
    api_key: str


SECRETS_FILE = "secrets.json"


def known_secrets(state_dir: Path) -> Secrets | None:
    """The secrets of a farm that has been started with this folder, if one has."""
    path = state_dir / SECRETS_FILE
    return msgspec.json.decode(path.read_bytes(), type=Secrets) if path.exists() else None


def load_secrets(state_dir: Path) -> Secrets:
    """The farm's secrets, made at the first start."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (known := known_secrets(state_dir)) is not None:
        return known
    path = state_dir / SECRETS_FILE
    made = Secrets(secrets.token_hex(32), secrets.token_urlsafe(24))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(made))
    return made


class Farm:
    """Broker, edge and nodes of one machine. An async context manager: started on entry, stopped on exit."""

    def __init__(self, settings: FarmSettings) -> None:
        self.settings = settings
        base = settings.base
        kept = load_secrets(settings.state_dir)
        self.api_key = base.broker.api_key or kept.api_key
        self.broker_url = f"http://127.0.0.1:{base.broker.port}"
        self.edge_url = f"http://127.0.0.1:{base.edge.port}"
        self._secret = base.broker.secret or kept.secret
        self._authority = TokenAuthority(self._secret.encode())
        self.roles = {role.name: role for role in (self._broker(), *self._edges(), *self._nodes())}

    def _broker(self) -> Role:
        config = self.settings.base.broker
        changes = {"secret": self._secret, "api_key": self.api_key}
        return self._role("broker", "broker", changes, f"http://127.0.0.1:{config.port}/livez")

    def _edges(self) -> list[Role]:
        further = [self._further_edge(index) for index in range(1, self.settings.edges)]
        return [self._edge(), *further] if self.settings.edges else []

    def _edge(self) -> Role:
        config = self.settings.base.edge
        changes = {
            "broker_url": self.broker_url,
            "trunk_url": config.trunk_url or f"ws://127.0.0.1:{config.port}/trunk",
            "token": self._authority.mint(AUDIENCE_EDGE, config.id, TOKEN_TTL_S, time.time()),
        }
        return self._role("edge", "edge", changes, f"http://127.0.0.1:{config.port}/readyz")

    def _further_edge(self, index: int) -> Role:
        config = self.settings.base.edge
        name, port = f"edge-{index + 1}", config.port + index
        public = urlsplit(config.public_url or f"http://127.0.0.1:{config.port}")
        changes = {
            "id": name,
            "port": str(port),
            "media_port": str(config.media_port + index if config.media_port else 0),
            "public_url": f"{public.scheme}://{public.hostname}:{port}",
            "broker_url": self.broker_url,
            "trunk_url": f"ws://127.0.0.1:{port}/trunk",
            "token": self._authority.mint(AUDIENCE_EDGE, name, TOKEN_TTL_S, time.time()),
        }
        return self._role(name, "edge", changes, f"http://127.0.0.1:{port}/readyz")

    def _nodes(self) -> list[Role]:
        return [self._node(index) for index in range(self.settings.nodes)]

    def _node(self, index: int) -> Role:
        config = self.settings.base.node
        name = f"node-{index + 1}"
        port = config.port + index
        changes = {
            "id": name,
            "port": str(port),
            "broker_url": self.broker_url,
            "token": self._authority.mint(AUDIENCE_NODE, name, TOKEN_TTL_S, time.time()),
        }
        return self._role(name, "node", changes, f"http://127.0.0.1:{port}/readyz")

    def _role(self, name: str, section: str, changes: dict[str, str], ready_url: str) -> Role:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FARSTAGE_")}
        for other in ("broker", "edge", "node", "log"):
            own = msgspec.to_builtins(getattr(self.settings.base, other))
            for key, value in own.items():
                if value is None:
                    continue
                environment[f"FARSTAGE_{other}_{key}".upper()] = _as_text(value)
        for key, value in changes.items():
            environment[f"FARSTAGE_{section}_{key}".upper()] = value
        environment["PYTHONUNBUFFERED"] = "1"
        command = [sys.executable, "-m", "farstage", section, "--supervised-by", str(os.getpid())]
        return Role(name, command, environment, ready_url, self.settings.state_dir / f"{name}.log")

    def python_role(self, name: str, module: str, arguments: list[str], ready_url: str) -> Role:
        """A process of another kind, for benchmarks: put it into `roles`, so that it ends with the farm."""
        command = [sys.executable, "-m", module, *arguments]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        return Role(name, command, environment, ready_url, self.settings.state_dir / f"{name}.log")

    async def __aenter__(self) -> "Farm":
        base = self.settings.base
        check_port(base.broker.host, base.broker.port, "broker")
        for index in range(self.settings.edges):
            check_port(base.edge.host, base.edge.port + index, "edge")
        for index in range(self.settings.nodes):
            check_port(base.node.host, base.node.port + index, "node")
        try:
            for role in self.roles.values():
                role.log_path.unlink(missing_ok=True)
                self.settings.progress(f"starting {role.name}")
                role.start()
            await asyncio.gather(*(self.wait_ready(name) for name in self.roles))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_ready(self, name: str) -> None:
        """Wait until a role says it is ready. Raises `FarmError` if it dies or takes too long."""
        role = self.roles[name]
        deadline = time.monotonic() + START_TIMEOUT_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as http:
            while not await _answers_ok(http, role.ready_url):
                if not role.running:
                    raise FarmError(f"{name} stopped while starting:\n{role.log_tail()}")
                if time.monotonic() > deadline:
                    raise FarmError(f"{name} is not ready after {START_TIMEOUT_S:.0f} s:\n{role.log_tail()}")
                await asyncio.sleep(0.1)
        self.settings.progress(f"{name} is ready")

    async def supervise(self, restarted: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Start again whatever stops by itself, until cancelled; `restarted` is told the name once it is ready."""
        while True:
            await asyncio.sleep(RESTART_PAUSE_S)
            for role in self.roles.values():
                if role.process is not None and not role.running:
                    self.settings.progress(f"{role.name} stopped (exit {role.process.returncode}); starting it again")
                    role.start()
                    await self._tell_when_ready(role, restarted)

    async def _tell_when_ready(self, role: Role, restarted: Callable[[str], Awaitable[None]] | None) -> None:
        try:
            await self.wait_ready(role.name)
            if restarted is not None:
                await restarted(role.name)
        except FarmError as error:
            self.settings.progress(str(error))

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to one role, for tests of its loss."""
        process = self.roles[name].process
        if process is not None:
            process.send_signal(signal_number)

    async def stop(self) -> None:
        """Stop all roles: politely, then not."""
        running = [role.process for role in reversed(self.roles.values()) if role.process is not None and role.running]
        for process in running:
            process.terminate()
        await asyncio.gather(*(asyncio.to_thread(_reap, process) for process in running))


async def _answers_ok(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _as_text(value: object) -> str:
    """A setting as an environment variable has it."""
    match value:
        case list():
            return ",".join(map(str, value))
        case dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)

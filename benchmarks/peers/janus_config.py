"""The configuration Janus runs with: the streaming plugin behind the HTTP API on loopback, nothing else.

Plugins and transports are chosen by linking them into folders of their own. Viewers share a fixed number of event
loops, as Janus is run for many of them: its default, a thread for each viewer, costs it twice as much a packet.
Measured on two cores with 300 viewers at 2.5 Mbit/s: one loop 7.4 µs a packet, two loops 10.2; so one is the default.
"""

import socket
from pathlib import Path

PLUGIN = "libjanus_streaming.so"
TRANSPORT = "libjanus_http.so"
LIBRARIES = ("/usr/lib/*/janus", "/usr/lib/janus", "/opt/janus/lib/janus")
VIEWER_PORTS = "20000-59999"
"""One for each viewer."""
MOUNTPOINT_PORTS = "10000-19999"


class JanusMissing(Exception):
    """Janus is not installed, or cannot be used on this machine; the message says how to get it."""


def write(folder: Path, http_port: int, event_loops: int) -> None:
    """Write the configuration into an empty folder. Raises `JanusMissing`."""
    libraries = _libraries()
    for name, wanted in (("plugins", PLUGIN), ("transports", TRANSPORT), ("events", None), ("loggers", None)):
        (folder / name).mkdir()
        if wanted is not None:
            (folder / name / wanted).symlink_to(libraries / name / wanted)
    (folder / "janus.jcfg").write_text(_core(folder, event_loops))
    (folder / "janus.transport.http.jcfg").write_text(_http(http_port))
    (folder / "janus.plugin.streaming.jcfg").write_text(f'general: {{ rtp_port_range = "{MOUNTPOINT_PORTS}" }}\n')


def _libraries() -> Path:
    for pattern in LIBRARIES:
        for found in Path("/").glob(pattern.removeprefix("/")):
            if (found / "plugins" / PLUGIN).exists():
                return found
    raise JanusMissing("Janus's streaming plugin is not on this machine: sudo apt-get install janus")


def _core(folder: Path, event_loops: int) -> str:
    return f"""
general: {{
    plugins_folder = "{folder}/plugins"
    transports_folder = "{folder}/transports"
    events_folder = "{folder}/events"
    loggers_folder = "{folder}/loggers"
    debug_level = 2
    debug_colors = false
    event_loops = {event_loops}
}}
media: {{
    rtp_port_range = "{VIEWER_PORTS}"
    no_media_timer = 0
}}
nat: {{
    ice_lite = true
    ignore_mdns = true
    ice_enforce_list = "{own_address()}"
}}
"""


def _http(port: int) -> str:
    return f"""
general: {{
    json = "compact"
    base_path = "/janus"
    http = true
    port = {port}
    ip = "127.0.0.1"
}}
admin: {{ admin_http = false }}
"""


def own_address() -> str:
    """This machine's address: Janus never offers loopback. Nothing is sent. Raises `JanusMissing` without any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise JanusMissing("Janus needs a network interface besides loopback, and there is none") from error
        return str(probe.getsockname()[0])

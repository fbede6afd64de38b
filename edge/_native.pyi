"""The compiled part of the native media engine: `edge/native` (Rust). `edge.native_engine` is what others use.

Sessions and streams are numbers here, 64 bits, of the caller's choice.
"""

from typing import Any, final

__all__ = ["NativeCore", "measure_ceiling", "packet_sizes"]

@final
class NativeCore:
    """A running engine: sockets and threads from construction to `stop`."""

    def __new__(
        cls,
        *,
        bind: list[str],
        announce: list[str],
        port: int,
        shards: int,
        certificate: bytes,
        private_key: bytes,
        playout_delay_ms: tuple[int, int],
        avoid_gso: bool,
    ) -> NativeCore:
        """Bind `port` (0: a free one) on the addresses `bind`, UDP and TCP, with `shards` threads.

        `announce`: addresses named in answers instead; empty means those bound. Certificate and key are DER.
        Raises `OSError` if a socket or the identity cannot be used, `ValueError` for what is not an address.
        """

    def answer(
        self, session: int, stream: int, offer: str, *, encoding: str, profiles: list[str], start_bps: float
    ) -> str:
        """Answer an offer; the viewer may connect from now on.

        `encoding`: H264, VP8 or AV1; `profiles`: beginnings of the `profile-level-id`s to answer, best first, for H264;
        `start_bps`: what the viewer's line is thought to take.

        Raises `ValueError` with what is wrong with the offer.
        """

    def answer_publisher(
        self, session: int, offer: str, *, encoding: str, profiles: list[str], max_layers: int
    ) -> tuple[str, list[str]]:
        """Answer the offer of a client that sends; it may connect from now on. Returns the names of its layers too.

        `encoding` and `profiles` as for `answer`. Of its simulcast the first `max_layers` are taken, three at most; a
        client without simulcast has one layer, whose name is empty.

        Raises `ValueError` with what is wrong with the offer.
        """

    def request_keyframe(self, session: int, layer: int) -> None:
        """Ask a publisher for a keyframe of a layer; requests within 300 ms become one."""

    def trickle(self, session: int, fragment: str) -> str | None:
        """Take an SDP fragment; one with new credentials restarts ICE and gives the fragment that answers it.

        Raises `ValueError` with what is wrong with it, or for a session that restarts more than once a second.
        """

    def set_layers(self, stream: int, rates_bps: list[float]) -> None:
        """A stream has these layers, lowest first, each taking about so many bits a second; none: it has one.

        A described stream is remembered until it is described with none.
        """

    def send(
        self, stream: int, encoding: str, frame: bytes, *, keyframe: bool, timestamp: int, picture_id: int, layer: int
    ) -> None:
        """Send a picture to a layer's viewers: `H264` (Annex B), `VP8` or `AV1`; `timestamp` 32 bits, 90 kHz.

        `picture_id` counts the stream's pictures, those of several layers that show the same moment as one.

        Raises `ValueError` for what cannot be packetised.
        """

    def send_audio(self, session: int, timestamp: int, opus_frame: bytes) -> None:
        """Send one Opus frame to one viewer; `timestamp` 32 bits, 48 kHz."""

    def send_message(self, sessions: list[int], label: str, text: bytes) -> None:
        """Send UTF-8 text to viewers that have the channel of this label open."""

    def close(self, session: int, *, farewell: bool) -> None:
        """End a viewer or publisher without an event; a farewell tells its client at once."""

    def events_fd(self) -> int:
        """A descriptor that is readable while there are events."""

    def events(self) -> list[tuple[Any, ...]]:
        """What happened: tuples that begin with a name and a session or stream; see `edge.native_engine`."""

    def statistics(self) -> bytes:
        """Rows of `edge.native_engine.NATIVE_ROW`, one a connected viewer."""

    def counters(self) -> dict[str, int]:
        """What was refused since the start, by name."""

    def latency(self) -> list[tuple[float, int]]:
        """Histogram of a picture's arrival to its last packet sent: upper ends in microseconds, and counts."""

    def cpu_s(self) -> float:
        """CPU seconds of the engine's threads."""

    def send_mode(self) -> str:
        """`gso` or `sendmmsg`."""

    def shards(self) -> int:
        """Number of threads."""

    def addresses(self) -> list[str]:
        """Where UDP and TCP are received, as answers name it."""

    def stop(self) -> None:
        """End the threads."""

def measure_ceiling(
    *, viewers: int, pictures: list[list[int]], fps: float, seconds: float, local: str, crypto_only: bool
) -> tuple[int, int, float]:
    """Packets sent, packets received and CPU seconds of a bare AES-128-GCM and send loop on the address `local`.

    `pictures`: payload sizes of each picture's packets, sent in turn.
    """

def packet_sizes(encoding: str, frame: bytes) -> list[int]:
    """Payload sizes of the packets that a picture is split into."""

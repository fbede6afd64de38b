"""What a load test found, as `--json` prints it."""

import msgspec

from client_demo.headless.load.pictures import Seen
from client_demo.headless.load.process import Counters, NativeReport, Ready, Summary
from client_demo.headless.watch import Percentiles


class ServerUse(msgspec.Struct):
    """The server's processes (`--pid`) during the measured time; `join_*` before it.

    `rss_bytes_per_viewer`: by how much memory has grown since before the joins.
    """

    cpu_s: float
    cpu_percent: float
    cpu_us_per_packet: float | None
    rss_bytes: int
    rss_bytes_per_viewer: int | None
    join_cpu_ms_per_viewer: float | None


class GeneratorUse(msgspec.Struct):
    """The native viewers themselves. `receiver_drops`: receptions lost as they did not read their sockets in time."""

    cpu_s: float
    cpu_percent: float
    receiver_drops: int
    receive_buffer: int
    coalescing: bool
    threads: int


class Network(msgspec.Struct):
    """Packets and pictures of viewers behind one kind of network."""

    delivered_packets: int
    lost_packets: int
    loss_percent: float
    recovered_packets: int
    reordered_packets: int
    duplicate_packets: int
    nacked_packets: int
    keyframe_requests: int
    pictures: int
    broken_pictures: int
    undecodable_pictures: int
    freezes: int
    frozen_s: float
    dropped_on_purpose: int

    @staticmethod
    def of(counters: Counters) -> "Network":
        """From the viewers' counters."""
        expected = counters.packets - counters.duplicate_packets + counters.lost_packets
        return Network(
            delivered_packets=counters.packets,
            lost_packets=counters.lost_packets,
            loss_percent=round(100.0 * counters.lost_packets / max(expected, 1), 4),
            recovered_packets=counters.recovered_packets,
            reordered_packets=counters.reordered_packets,
            duplicate_packets=counters.duplicate_packets,
            nacked_packets=counters.nacked_packets,
            keyframe_requests=counters.keyframe_requests,
            pictures=counters.pictures,
            broken_pictures=counters.broken_pictures,
            undecodable_pictures=counters.undecodable_pictures,
            freezes=counters.freezes,
            frozen_s=round(counters.frozen_us / 1e6, 2),
            dropped_on_purpose=counters.impaired_packets,
        )


class Verified(msgspec.Struct):
    """What the viewers that decrypt found."""

    viewers: int
    packets: int
    authentication_failures: int
    foreign_packets: int
    decodable_pictures: int


class Decoded(msgspec.Struct):
    """What the viewers that decode saw. `latency_ms`: from the barcode's time to the arrival of the last packet."""

    viewers: int
    pictures: int
    barcodes: int
    crc_failures: int
    frames_lost: int
    decode_errors: int
    latency_ms: Percentiles | None

    @staticmethod
    def of(viewers: int, seen: Seen) -> "Decoded":
        """From what was decoded; pictures without a readable barcode count as failures if others had one."""
        return Decoded(
            viewers=viewers,
            pictures=seen.pictures,
            barcodes=seen.barcodes,
            crc_failures=seen.unreadable if seen.barcodes else 0,
            frames_lost=seen.frames_lost,
            decode_errors=seen.decode_errors,
            latency_ms=Percentiles.of(list(seen.delays_ms)),
        )


class Second(msgspec.Struct):
    """One second of the run, joins included; counters as of then."""

    at_s: float
    connected: int
    packets: int
    octets: int
    lost_packets: int
    server_cpu_s: float | None
    generator_cpu_s: float


class LoadReport(msgspec.Struct):
    """The report. Packets are those of all viewers; `impaired` alone has those behind the bad network."""

    whep: str
    viewers: int
    joined: int
    failed: int
    failures: dict[str, int]
    watching: int
    connected_at_end: int
    join_seconds: float
    seconds: float
    delivered_packets: int
    packets_per_s: int
    bitrate_bps: int
    lost_packets: int
    viewers_with_loss: int
    post_ms: Summary | None
    join_ms: Summary | None
    first_frame_ms: Summary | None
    capture_to_arrival_ms: Summary | None
    picture_interval_ms: Summary | None
    clean: Network
    impaired: Network | None
    verified: Verified
    decoded: Decoded | None
    server: ServerUse | None
    generator: GeneratorUse
    warnings: list[str]
    timeline: list[Second]
    histograms: dict[str, list[tuple[float, int]]]


def warnings_of(native: NativeReport, ready: Ready, wanted_buffer: int, generator_percent: float) -> list[str]:
    """What makes the figures say less than they seem to."""
    found = []
    drops = native.clean.receiver_drops + native.impaired.receiver_drops
    if drops:
        found.append(
            f"{drops} receptions were lost in the generator's own sockets: loss is not the server's alone; "
            "use fewer viewers, more --threads or another machine"
        )
    if ready.receive_buffer < wanted_buffer:
        found.append(
            f"sockets got a receive buffer of {ready.receive_buffer} bytes instead of {wanted_buffer}: "
            "run as root or raise net.core.rmem_max"
        )
    if not ready.coalescing:
        found.append("this kernel has no UDP_GRO: receiving costs the generator more")
    if generator_percent > 90.0:
        found.append(f"the generator used {generator_percent:.0f} % of each of its threads: it may delay packets")
    if native.pictures_dropped:
        found.append(f"{native.pictures_dropped} pictures were not decoded: fewer --decode")
    return found

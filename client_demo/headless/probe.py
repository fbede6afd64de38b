"""Measures the path to an edge before joining, as the browser SDK does."""

import statistics
import time

import aiohttp

from broker.protocol import Probe, ProbeTarget

TRIES = 4
TRY_TIMEOUT_S = 2.0
BANDWIDTH_BYTES = 131_072


async def measure(target: ProbeTarget) -> Probe:
    """Round trips to one edge: the median, their spread, the share that failed; and how fast a download comes in."""
    round_trips_ms: list[float] = []
    timeout = aiohttp.ClientTimeout(total=TRY_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for _ in range(TRIES + 1):
            elapsed_ms = await _try(http, target.probe_url)
            if elapsed_ms is not None:
                round_trips_ms.append(elapsed_ms)
        bandwidth_bps = await _bandwidth_bps(http, target.probe_url)
    # The first try opens the connection and counts for loss only.
    timed = round_trips_ms[1:] or round_trips_ms or [TRY_TIMEOUT_S * 1000.0]
    return Probe(
        edge=target.edge,
        rtt_ms=statistics.median(timed),
        jitter_ms=statistics.pstdev(timed),
        loss=1.0 - len(round_trips_ms) / (TRIES + 1),
        bandwidth_bps=bandwidth_bps,
    )


async def _try(http: aiohttp.ClientSession, url: str) -> float | None:
    begun = time.perf_counter()
    try:
        async with http.get(url) as response:
            await response.read()
            return (time.perf_counter() - begun) * 1000.0 if response.status == 204 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


async def _bandwidth_bps(http: aiohttp.ClientSession, url: str) -> float | None:
    """The faster of two downloads: TCP's slow start may hold the first one back."""
    measured = [bps for bps in (await _download_bps(http, url), await _download_bps(http, url)) if bps is not None]
    return max(measured, default=None)


async def _download_bps(http: aiohttp.ClientSession, url: str) -> float | None:
    """The speed of a download; one that a narrow line does not finish in time counts as far as it came."""
    begun, received = time.perf_counter(), 0
    try:
        async with http.get(url, params={"bytes": str(BANDWIDTH_BYTES)}) as response:
            async for part in response.content.iter_any():
                received += len(part)
    except (aiohttp.ClientError, OSError, TimeoutError):
        if received == 0:
            return None
    return received * 8.0 / max(1e-4, time.perf_counter() - begun)

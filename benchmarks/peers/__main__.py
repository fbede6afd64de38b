"""The same load against our engines, Janus and any WHEP server, one after the other in one run.

python -m benchmarks.peers --viewers 1000 --kbps 2500 --seconds 20 [--json] [--save FILE] [--whep URL[,pid]]

Every server plays the same pictures (720p30 H.264), every viewer is a full ICE, DTLS and SRTP client of `farstage
loadtest`. The aiortc engine and Janus are given as many viewers as they can serve beside the load generator on a
small machine; the native engine is measured at Janus's number too, and compared there. Nothing else should run
meanwhile.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS, Contestant, ServerFailed, foreign, running
from benchmarks.peers.load import LOADTEST, Load, LoadFailed, put_under_load
from benchmarks.peers.table import Row, markdown, ratio
from farstage.bench.machine import machine

FPS = 30


def plan(contestants: Sequence[Contestant], viewers: int, kbps: int) -> list[tuple[Contestant, int]]:
    """Who is measured with how many viewers; the native engine also with as many as Janus gets."""
    runs = [(contestant, contestant.viewers(viewers, kbps)) for contestant in contestants]
    counts = {contestant.name: count for contestant, count in runs}
    for contestant, count in runs:
        if contestant.name == "native" and counts.get("janus", count) < count:
            return [(contestant, counts["janus"]), *runs]
    return runs


async def measure(contestant: Contestant, viewers: int, kbps: int, load: Load) -> Row:
    """Start a server, put it under load, end it."""
    try:
        async with running(contestant, kbps, FPS) as server:
            return Row(contestant.name, await put_under_load(server, viewers, load))
    except (ServerFailed, LoadFailed) as error:
        return Row(contestant.name, None, str(error))


async def run(
    contestants: Sequence[Contestant], viewers: int, kbps: int, load: Load, progress: Callable[[str], None]
) -> list[Row]:
    """Measure one after the other."""
    rows = []
    for contestant, count in plan(contestants, viewers, kbps):
        progress(f"{contestant.name}: {count} viewers, {kbps} kbit/s, {load.seconds:.0f} s")
        rows.append(await measure(contestant, count, kbps, load))
    return rows


def results(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    """The JSON object."""
    asked = {"viewers": options.viewers, "kbps": options.kbps, "seconds": options.seconds}
    servers = [row.builtins() for row in rows]
    about = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    return {**about, **asked, "servers": servers, "janus_over_native": ratio(rows)}


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--kbps", type=int, default=2500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--verify", type=float, default=0.05, help="share of viewers that check each packet")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), metavar="SERVER")
    parser.add_argument("--janus-kbps", type=int, help=f"most in all (default {CONTESTANTS['janus'].most_kbps})")
    parser.add_argument("--whep", action="append", type=foreign, default=[], help="also measure this: URL[,pid]")
    parser.add_argument("--loadtest", default=LOADTEST, help="the load generator's command")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--save", type=Path, help="write the JSON object to this file too")
    return parser.parse_args()


def tell(line: str) -> None:
    """Progress, beside the result."""
    print(f"· {line}", file=sys.stderr)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    contestants = [CONTESTANTS[name] for name in options.only]
    if options.janus_kbps:
        most = options.janus_kbps
        contestants = [replace(one, most_kbps=most) if one.name == "janus" else one for one in contestants]
    load = Load(options.seconds, options.verify, options.loadtest)
    everyone = [*contestants, *options.whep]
    rows = asyncio.run(run(everyone, options.viewers, options.kbps, load, tell))
    found = results(rows, options)
    if options.save:
        options.save.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found) if options.json else markdown(rows, options.viewers))


if __name__ == "__main__":
    main()

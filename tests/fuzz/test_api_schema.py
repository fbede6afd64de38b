"""Schemathesis over our own OpenAPI document: whatever a client sends, the broker does not fail."""

import asyncio
import sys

from tests.support.broker_server import API_KEY, running_broker

EXAMPLES = 12
"""For each operation and kind of data; each run draws others."""


async def test_no_request_that_the_schema_allows_or_forbids_makes_the_broker_fail() -> None:
    async with running_broker() as api:
        await api.node()
        await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await api.join()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.base}/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {API_KEY}", "--checks", "not_a_server_error"),
            *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--no-color"),
            *("--exclude-path", "/v1/control", "--exclude-path-regex", "/(whip|whep)$", "--request-timeout", "5"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, output.decode()[-6000:]
        assert await api.metric("farstage_faults_total") == 0

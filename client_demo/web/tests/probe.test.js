import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { probeEdges } from '../sdk/probe.js';

const STEP_MS = 50;

/**
 * A broker and an edge in one, whose downloads come at `bps`.
 *
 * @param {number} bps
 * @param {(origin: string) => Promise<void>} use
 */
async function withEdge(bps, use) {
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://x');
    if (url.pathname === '/v1/probe-targets') {
      const targets = [{ edge: 'edge-1', region: 'r', probe_url: `http://${request.headers.host}/probe` }];
      return response.end(JSON.stringify({ targets }));
    }
    let left = Number(url.searchParams.get('bytes') ?? 0);
    if (!left) return response.writeHead(204).end();
    const timer = setInterval(() => {
      const size = Math.min(left, Math.round((bps * STEP_MS) / 8000));
      left -= size;
      response.write(Buffer.alloc(size));
      if (left <= 0) response.end(() => clearInterval(timer));
    }, STEP_MS);
    return response.on('close', () => clearInterval(timer));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  try {
    await use(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('a line too narrow for the download is measured by what came in time', async () => {
  await withEdge(400_000, async (origin) => {
    const [probe] = await probeEdges(origin);
    assert.ok(probe.bandwidth_bps > 250_000 && probe.bandwidth_bps < 500_000, String(probe.bandwidth_bps));
    assert.equal(probe.loss, 0);
  });
});

test('a wide line is measured as wide', async () => {
  await withEdge(40_000_000, async (origin) => {
    const [probe] = await probeEdges(origin);
    assert.ok(probe.bandwidth_bps > 4_000_000, String(probe.bandwidth_bps));
  });
});

test('an edge that does not answer is left out', async () => {
  await withEdge(1, async (origin) => {
    const broker = createServer((_request, response) => response.end(JSON.stringify({
      targets: [{ edge: 'gone', region: 'r', probe_url: 'http://127.0.0.1:1/probe' }, { edge: 'here', region: 'r', probe_url: `${origin}/probe` }],
    })));
    await new Promise((resolve) => { broker.listen(0, '127.0.0.1', resolve); });
    const probes = await probeEdges(`http://127.0.0.1:${broker.address().port}`);
    broker.closeAllConnections();
    broker.close();
    assert.deepEqual(probes.map((probe) => [probe.edge, probe.bandwidth_bps]), [['here', null]]);
  });
});

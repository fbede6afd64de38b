/** Measures the way to each edge before joining: round trip, jitter, loss, and once the bandwidth. */

import { request, requestJson } from './problems.js';
import { MAX_MILLISECONDS, MAX_PROBES } from './protocol.js';

/** @import {Probe, ProbeTarget} from './protocol.js' */

const TRIES = 4;
const TRY_TIMEOUT_MS = 1_000;
const BANDWIDTH_BYTES = 131_072;
const BANDWIDTH_TIMEOUT_MS = 1_500;
/** More makes no difference to the picture. */
const BANDWIDTH_ENOUGH_BPS = 4_000_000;

/**
 * Probe all edges the broker names, at the same time. An edge that never answers is left out; an empty list only means
 * that the broker places without measurements.
 *
 * @param {string} broker Origin of the broker.
 * @param {AbortSignal} [signal]
 * @returns {Promise<Probe[]>}
 */
export async function probeEdges(broker, signal) {
  const { targets } = await requestJson(`${broker}/v1/probe-targets`, { signal });
  const probes = await Promise.all(targets.slice(0, MAX_PROBES).map((/** @type {ProbeTarget} */ target) => probeEdge(target, signal)));
  return probes.filter((probe) => probe !== null);
}

/**
 * @param {ProbeTarget} target
 * @param {AbortSignal} [signal]
 * @returns {Promise<Probe | null>}
 */
async function probeEdge(target, signal) {
  /** @type {(number | null)[]} */
  const roundTrips = [];
  await roundTripMs(target.probe_url, signal);
  for (let attempt = 0; attempt < TRIES; attempt += 1) roundTrips.push(await roundTripMs(target.probe_url, signal));
  const summary = summarise(roundTrips);
  if (!summary) return null;
  return { edge: target.edge, ...summary, bandwidth_bps: await bandwidthBps(target.probe_url, signal) };
}

/**
 * Median, jitter (mean difference of neighbours, as RFC 3550 means it) and loss of a series of tries.
 *
 * @param {(number | null)[]} roundTrips Milliseconds; `null` for a try without an answer.
 * @returns {{rtt_ms: number, jitter_ms: number, loss: number} | null} `null` when nothing answered.
 */
export function summarise(roundTrips) {
  const answered = roundTrips.filter((value) => value !== null);
  if (answered.length === 0) return null;
  const sorted = answered.toSorted((a, b) => a - b);
  const differences = answered.slice(1).map((value, index) => Math.abs(value - answered[index]));
  const jitterMs = differences.reduce((sum, value) => sum + value, 0) / Math.max(1, differences.length);
  return {
    rtt_ms: round(Math.min(MAX_MILLISECONDS, sorted[Math.floor(sorted.length / 2)])),
    jitter_ms: round(Math.min(MAX_MILLISECONDS, jitterMs)),
    loss: 1 - answered.length / roundTrips.length,
  };
}

/**
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<number | null>}
 */
async function roundTripMs(url, signal) {
  const startMs = performance.now();
  try {
    await request(url, { cache: 'no-store', timeoutMs: TRY_TIMEOUT_MS, signal });
  } catch {
    signal?.throwIfAborted();
    return null;
  }
  return performance.now() - startMs;
}

/**
 * How much the way to an edge carries. A download that TCP's slow start may have held back is made once more, on the
 * connection that has left it.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<number | null>}
 */
async function bandwidthBps(url, signal) {
  const first = await downloadBps(url, signal);
  if (first === null || !first.complete || first.bps >= BANDWIDTH_ENOUGH_BPS) return first?.bps ?? null;
  const second = await downloadBps(url, signal);
  return Math.max(first.bps, second?.bps ?? 0);
}

/**
 * How fast a download comes in; one that a narrow line does not finish in time counts as far as it came.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<{bps: number, complete: boolean} | null>}
 */
async function downloadBps(url, signal) {
  const startMs = performance.now();
  let bytes = 0;
  try {
    const response = await request(`${url}?bytes=${BANDWIDTH_BYTES}`, { cache: 'no-store', timeoutMs: BANDWIDTH_TIMEOUT_MS, signal });
    const reader = response.body?.getReader();
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) bytes += part.value.byteLength;
  } catch {
    signal?.throwIfAborted();
    if (bytes === 0) return null;
  }
  const bps = Math.round((bytes * 8000) / Math.max(0.1, performance.now() - startMs));
  return { bps, complete: bytes >= BANDWIDTH_BYTES };
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100;
}

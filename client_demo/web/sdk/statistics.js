/** From two snapshots of `RTCPeerConnection.getStats()` to figures people and operators understand. */

import { MAX_MILLISECONDS } from './protocol.js';

/** @import {ClientReport} from './protocol.js' */

/**
 * @typedef {object} Snapshot Cumulative counters at one instant.
 * @property {number} atMs
 * @property {number} width
 * @property {number} height
 * @property {number} bytes
 * @property {number} packets
 * @property {number} packetsLost
 * @property {number} framesDecoded
 * @property {number} framesDropped
 * @property {number} freezes
 * @property {number} decodeS
 * @property {number} jitterBufferS
 * @property {number} jitterBufferFrames
 * @property {number | null} rttMs
 * @property {string} codec
 */

/**
 * @typedef {object} Statistics Figures of the last interval; `null` where nothing was measured.
 * @property {number} width
 * @property {number} height
 * @property {number} framesPerS
 * @property {number} framesDropped
 * @property {number} freezes
 * @property {number} bitrateBps
 * @property {number | null} loss
 * @property {number | null} rttMs
 * @property {number | null} jitterBufferMs
 * @property {number | null} decodeMs
 * @property {number | null} inputToPhotonMs
 * @property {string} codec
 */

/**
 * Pick what we need out of a report.
 *
 * @param {Iterable<any>} entries The report's values.
 * @param {number} atMs
 * @returns {Snapshot | null} `null` before any video arrived.
 */
export function snapshot(entries, atMs) {
  const all = [...entries];
  const video = all.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video');
  if (!video) return null;
  const transport = all.find((entry) => entry.type === 'transport');
  const pair = all.find((entry) => entry.type === 'candidate-pair' && (entry.id === transport?.selectedCandidatePairId || entry.selected));
  const codec = all.find((entry) => entry.id === video.codecId);
  return {
    atMs,
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    bytes: video.bytesReceived ?? 0,
    packets: video.packetsReceived ?? 0,
    packetsLost: video.packetsLost ?? 0,
    framesDecoded: video.framesDecoded ?? 0,
    framesDropped: video.framesDropped ?? 0,
    freezes: video.freezeCount ?? 0,
    decodeS: video.totalDecodeTime ?? 0,
    jitterBufferS: video.jitterBufferDelay ?? 0,
    jitterBufferFrames: video.jitterBufferEmittedCount ?? 0,
    rttMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    codec: codec?.mimeType?.split('/')[1] ?? '',
  };
}

/**
 * Bytes that have come by a connection, of whatever kind.
 *
 * @param {Iterable<any>} entries A report's values.
 */
export function received(entries) {
  return [...entries].find((entry) => entry.type === 'transport')?.bytesReceived ?? 0;
}

/**
 * Figures between two snapshots.
 *
 * @param {Snapshot} before
 * @param {Snapshot} after
 * @param {number | null} inputToPhotonMs
 * @returns {Statistics}
 */
export function difference(before, after, inputToPhotonMs) {
  const elapsedS = Math.max(0.001, (after.atMs - before.atMs) / 1000);
  const lost = Math.max(0, after.packetsLost - before.packetsLost);
  const decoded = after.framesDecoded - before.framesDecoded;
  return {
    width: after.width,
    height: after.height,
    framesPerS: Math.max(0, decoded / elapsedS),
    framesDropped: Math.max(0, after.framesDropped - before.framesDropped),
    freezes: Math.max(0, after.freezes - before.freezes),
    bitrateBps: Math.max(0, ((after.bytes - before.bytes) * 8) / elapsedS),
    loss: ratio(lost, lost + after.packets - before.packets),
    rttMs: after.rttMs,
    jitterBufferMs: perFrameMs(after.jitterBufferS - before.jitterBufferS, after.jitterBufferFrames - before.jitterBufferFrames),
    decodeMs: perFrameMs(after.decodeS - before.decodeS, decoded),
    inputToPhotonMs,
    codec: after.codec,
  };
}

/**
 * The report an edge accepts.
 *
 * @param {Statistics} statistics
 * @returns {ClientReport}
 */
export function clientReport(statistics) {
  return {
    type: 'client_report',
    frames_per_s: Math.min(1000, statistics.framesPerS),
    frames_dropped: statistics.framesDropped,
    freezes: statistics.freezes,
    jitter_buffer_ms: bounded(statistics.jitterBufferMs),
    decode_ms: bounded(statistics.decodeMs),
    input_to_photon_ms: bounded(statistics.inputToPhotonMs),
    width: statistics.width,
    height: statistics.height,
  };
}

/** @param {number | null} milliseconds */
function bounded(milliseconds) {
  return milliseconds === null ? null : Math.min(MAX_MILLISECONDS, Math.max(0, milliseconds));
}

/**
 * @param {number} seconds
 * @param {number} frames
 */
function perFrameMs(seconds, frames) {
  return frames > 0 ? (seconds * 1000) / frames : null;
}

/**
 * @param {number} part
 * @param {number} whole
 */
function ratio(part, whole) {
  return whole > 0 ? Math.min(1, part / whole) : null;
}

/** The figures of the last second, laid over the picture. */

import { byId, el } from './dom.js';
import { t } from './i18n.js';

/** @import {Statistics} from '../sdk/statistics.js' */
/** @import {WordKey} from './i18n.js' */

/**
 * @param {Statistics | null} statistics
 * @param {string} edge
 */
export function showFigures(statistics, edge) {
  const rows = figures(statistics, edge).flatMap(([word, value, name]) => [
    el('dt', {}, t(word)),
    el('dd', { 'data-testid': `stat-${name}` }, value),
  ]);
  byId('stats-overlay').replaceChildren(...rows);
}

/**
 * @param {Statistics | null} s
 * @param {string} edge
 * @returns {[WordKey, string, string][]}
 */
function figures(s, edge) {
  return [
    ['stats.resolution', s ? `${s.width} × ${s.height}` : '–', 'resolution'],
    ['stats.framesPerS', s ? `${s.framesPerS.toFixed(1)} /s` : '–', 'frame-rate'],
    ['stats.bitrate', s ? bitrate(s.bitrateBps) : '–', 'bitrate'],
    ['stats.rtt', milliseconds(s?.rttMs), 'rtt'],
    ['stats.loss', s?.loss == null ? '–' : `${(s.loss * 100).toFixed(1)} %`, 'loss'],
    ['stats.jitterBuffer', milliseconds(s?.jitterBufferMs), 'jitter-buffer'],
    ['stats.decode', milliseconds(s?.decodeMs), 'decode'],
    ['stats.photon', milliseconds(s?.inputToPhotonMs), 'input-to-photon'],
    ['stats.codec', s?.codec || '–', 'codec'],
    ['stats.path', edge, 'edge'],
  ];
}

/** @param {number | null | undefined} value */
function milliseconds(value) {
  return value == null ? '–' : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** @param {number} bps */
export function bitrate(bps) {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(2)} Mbit/s` : `${(bps / 1e3).toFixed(0)} kbit/s`;
}

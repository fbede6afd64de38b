/** Regions and the moves between them, as rows of the desk. */

import { t, language } from '../app/i18n.js';
import { figure, smallButton, stateMark } from './rows.js';
import { sparkline } from './sparkline.js';

/** @import {Move, Region, Spread} from './api.js' */
/** @import {RowContent} from './rows.js' */
/** @import {History} from './sparkline.js' */


/**
 * @param {Region} entry
 * @param {History} history
 * @param {(region: string, inService: boolean) => void} drainOrCallOff
 * @returns {RowContent}
 */
export function regionRow(entry, history, drainOrCallOff) {
  const { region } = entry;
  const inService = entry.nodes_ready + entry.edges_ready > 0;
  return {
    key: region,
    testId: `op-region-${region}`,
    name: region,
    about: [
      stateMark(inService ? 'ready' : 'draining'),
      ` · ${t('op.ofNodes', { ready: entry.nodes_ready, all: entry.nodes })} · ${t('op.ofEdges', { ready: entry.edges_ready, all: entry.edges })}`,
    ],
    figures: [
      figure('op.units', `${entry.units_used.toFixed(1)} / ${entry.units.toFixed(0)}`),
      sparkline(history.add(`region/${region}`, entry.units_used), Math.max(entry.units, entry.units_used, 1)),
      figure('op.viewers', `${entry.viewers} / ${entry.max_viewers}`),
      figure('op.quality', entry.quality === null ? '–' : entry.quality.toFixed(0)),
      figure('op.belowGood', String(entry.below_good)),
      figure('stats.rtt', spread(entry.rtt_ms, 1, 'ms')),
      figure('stats.loss', spread(entry.loss, 100, '%')),
      figure('op.power', entry.power_w < 1000 ? `${entry.power_w.toFixed(0)} W` : `${(entry.power_w / 1000).toFixed(2)} kW`),
      figure('op.carbonPerH', `${entry.carbon_g_per_h.toFixed(0)} g`),
      figure('op.costPerH', entry.cost_per_h.toFixed(2)),
    ],
    actionsKey: `${language()} ${inService}`,
    actions: [
      smallButton(inService ? 'op.drain' : 'op.undrain', `op-drain-region-${region}`, () => drainOrCallOff(region, inService), inService),
    ],
  };
}

/**
 * @param {Move} move
 * @param {number} index
 * @returns {RowContent}
 */
export function moveRow(move, index) {
  const time = new Date(move.at).toLocaleTimeString(language());
  const way = `${place(move.from_node, move.from_region)} → ${place(move.to_node, move.to_region)}`;
  return {
    key: `${move.at}/${move.room}/${index}`,
    testId: `op-move-${move.room}`,
    name: move.room,
    about: [`${time} · ${way} · ${t(move.planned ? 'op.planned' : 'op.afterLoss')}`],
    figures: [figure('op.views', String(move.views))],
    actionsKey: '',
    actions: [],
  };
}

/**
 * @param {string | null} node
 * @param {string | null} region
 */
function place(node, region) {
  if (node === null) return '–';
  return region === null ? node : `${node} (${region})`;
}

/**
 * Median and upper percentile of viewers.
 *
 * @param {Spread | null} values
 * @param {number} factor
 * @param {string} unit
 */
function spread(values, factor, unit) {
  if (values === null) return '–';
  const [p50, p95] = [values.p50 * factor, values.p95 * factor].map((value) => value.toFixed(value < 10 ? 1 : 0));
  return `${p50} / ${p95} ${unit}`;
}

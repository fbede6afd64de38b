/** The desk: what the farm looks like now, and what an operator does about it. */

import { byId, el } from '../app/dom.js';
import { language, t } from '../app/i18n.js';
import { notice } from '../app/notices.js';
import { bitrate } from '../app/overlay.js';
import { FarstageError } from '../sdk/problems.js';
import { showAudit } from './audit.js';
import { confirmed } from './dialogs.js';
import { copyLink } from './links.js';
import { moveRow, regionRow } from './regions.js';
import { figure, showRows, smallButton, stateMark } from './rows.js';
import { History, sparkline } from './sparkline.js';
import { showWebhooks } from './webhooks.js';

/** @import {AuditEntry, Edge, Move, Node, OperatorApi, Participant, Region, Room, Usage, ViewerReport, Waiting, Webhook} from './api.js' */
/** @import {RowContent} from './rows.js' */

const ROLES = /** @type {const} */ (['host', 'speaker', 'visitor', 'spectator']);

/** From so many rooms on one looks for one by name. */
const MANY_ROOMS = 8;
const MOVES_SHOWN = 12;

/**
 * @typedef {object} Farm What one poll brought.
 * @property {Room[]} rooms
 * @property {Node[]} nodes
 * @property {Edge[]} edges
 * @property {Region[]} regions
 * @property {Move[]} moves The latest first.
 * @property {Participant[]} participants Of the chosen room.
 * @property {Waiting[]} waiting Before its door.
 * @property {Usage | null} used Today; `null`, here and below, for a key that may not see it.
 * @property {Webhook[] | null} webhooks
 * @property {AuditEntry[] | null} audit The latest entries.
 */

export class Desk {
  /** @param {OperatorApi} api */
  constructor(api) {
    this.api = api;
    this._history = new History();
    /** @type {string | null} */
    this.chosenRoom = null;
    /** @type {Farm | null} */
    this._farm = null;
    byId('op-filter').addEventListener('input', () => this.show());
  }

  /** Ask the broker for everything, once. Raises `FarstageError`. */
  async poll() {
    const [rooms, nodes, edges, regions, moves, used, webhooks, audit] = await Promise.all([
      this.api.rooms(), this.api.nodes(), this.api.edges(), this.api.regions(), this.api.moves(),
      this.api.usedToday().catch(() => null), this.api.webhooks().catch(() => null), this.api.auditEntries().catch(() => null),
    ]);
    if (!rooms.some((room) => room.room === this.chosenRoom)) this.chosenRoom = rooms[0]?.room ?? null;
    const [participants, waiting] = this.chosenRoom ? await this._people(this.chosenRoom) : [[], []];
    this._farm = { rooms, nodes, edges, regions, moves, participants, waiting, used, webhooks, audit };
    this.show();
  }

  /** Show the last known state (again, in another language). */
  show() {
    if (!this._farm) return;
    const { rooms, nodes, edges, regions, moves, participants, waiting } = this._farm;
    this._showTotals(this._farm);
    byId('op-filter-field').hidden = rooms.length < MANY_ROOMS;
    showRows(byId('op-rooms'), this._found(rooms).map((room) => this._roomRow(room)), t('op.noRooms'));
    showRows(byId('op-nodes'), nodes.map((node) => this._nodeRow(node)), t('op.noNodes'));
    showRows(byId('op-edges'), edges.map((edge) => this._edgeRow(edge)), t('op.noEdges'));
    const drainOrCallOff = this._drainOrCallOffRegion.bind(this);
    showRows(byId('op-regions'), regions.map((region) => regionRow(region, this._history, drainOrCallOff)), t('op.noRegions'));
    showRows(byId('op-moves'), moves.slice(0, MOVES_SHOWN).map(moveRow), t('op.noMoves'));
    showWebhooks(this, this._farm.webhooks);
    showAudit(this._farm.audit);
    byId('op-participants-heading').textContent = this.chosenRoom ? t('op.participantsOf', { room: this.chosenRoom }) : t('op.participants');
    byId('op-invite').hidden = this.chosenRoom === null;
    const rows = [...waiting.map((entry) => this._waitingRow(entry)), ...participants.map((entry) => this._participantRow(entry))];
    byId('op-admit-all').hidden = waiting.filter((entry) => entry.waits_for === 'host').length < 2;
    showRows(byId('op-participants'), rows, t(this.chosenRoom ? 'op.noParticipants' : 'op.chooseRoom'));
    const scenes = [...new Set(nodes.flatMap((node) => node.capability.scenes))];
    byId('op-scenes').replaceChildren(...scenes.map((scene) => el('option', { value: scene })));
  }

  /**
   * The rooms whose name holds what is looked for.
   *
   * @param {Room[]} rooms
   */
  _found(rooms) {
    const wanted = /** @type {HTMLInputElement} */ (byId('op-filter')).value.trim().toLowerCase();
    return rooms.filter((room) => room.room.toLowerCase().includes(wanted));
  }

  /**
   * Carry out an operation, then show what became of it; a refusal is told in words.
   *
   * @param {() => Promise<unknown>} operation
   * @param {string | null} [done] Words on success.
   */
  async attempt(operation, done = null) {
    try {
      await operation();
      if (done) notice(done);
      await this.poll();
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
      notice(t('op.failed', { reason: error.message }));
    }
  }

  /**
   * Who is in a room, and who waits before its door.
   *
   * @param {string} room
   * @returns {Promise<[Participant[], Waiting[]]>}
   */
  async _people(room) {
    try {
      return await Promise.all([this.api.participants(room), this.api.waiting(room)]);
    } catch (error) {
      if (error instanceof FarstageError && error.problem.status === 404) return [[], []];
      throw error;
    }
  }

  /**
   * Send a webhook a test event, and say how it went.
   *
   * @param {string} webhook
   */
  async testWebhook(webhook) {
    const { delivered, status, error, duration_ms: tookMs } = await this.api.testWebhook(webhook);
    notice(delivered ? t('op.testTaken', { status: status ?? 0, ms: Math.round(tookMs) }) : t('op.testFailed', { reason: error }));
  }

  /** Let in everybody who waits before the chosen room. */
  admitAll() {
    const room = this.chosenRoom;
    return room === null ? Promise.resolve() : this.attempt(() => this.api.decide(room, 'admit'));
  }

  /** @param {Farm} farm */
  _showTotals({ rooms, nodes, edges, used }) {
    const people = sum(rooms, (room) => room.participants);
    const units = sum(nodes, (node) => node.capability.units);
    const load = sum(nodes, (node) => node.load_ratio * node.capability.units) / Math.max(units, 1e-9);
    const egress = sum(edges, (edge) => edge.load.egress_bps);
    byId('op-totals').replaceChildren(
      this._total(t('op.rooms'), 'rooms', rooms.length, String(rooms.length)),
      this._total(t('op.people'), 'people', people, String(people)),
      this._total(t('op.views'), 'views', sum(nodes, (node) => node.load.views), String(sum(nodes, (node) => node.load.views))),
      this._total(t('op.capacity'), 'capacity', load, percent(load), 1),
      this._total(t('op.egress'), 'egress', egress, bitrate(egress)),
      ...used === null ? [] : [
        this._total(t('op.energyToday'), 'energy', used.energy_wh, energy(used.energy_wh)),
        this._total(t('op.carbonToday'), 'carbon', used.carbon_g, mass(used.carbon_g)),
        this._total(t('op.costToday'), 'cost', used.cost, used.cost.toFixed(2)),
      ],
    );
  }

  /**
   * @param {string} label
   * @param {string} name
   * @param {number} value
   * @param {string} words
   * @param {number} [ceiling]
   */
  _total(label, name, value, words, ceiling) {
    return el('div', { className: 'total' },
      el('span', { className: 'total__label' }, label),
      el('span', { className: 'total__value', 'data-testid': `op-total-${name}` }, words),
      sparkline(this._history.add(`total/${name}`, value), ceiling));
  }

  /**
   * @param {Room} room
   * @returns {RowContent}
   */
  _roomRow(room) {
    const name = room.room;
    return {
      key: name,
      testId: `op-room-${name}`,
      name,
      about: [`${t(`mode.${room.mode}`)} · ${room.scene} · ${t(room.open ? 'op.isOpen' : 'op.byInvitation')}${room.waiting_room ? ` · ${t('op.waitingRoom')}` : ''}${room.locked ? ` · ${t('op.isLocked')}` : ''}`],
      chosen: name === this.chosenRoom,
      figures: [
        figure('op.people', `${room.participants} / ${room.max_participants}`),
        sparkline(this._history.add(`room/${name}`, room.participants)),
        room.node ? el('span', { className: 'dim' }, t('op.onNode', { node: room.node })) : null,
      ],
      actionsKey: `${language()} ${room.open} ${room.locked}`,
      actions: [
        smallButton('op.show', `op-show-${name}`, () => this._choose(name)),
        smallButton(room.locked ? 'op.unlockRoom' : 'op.lockRoom', `op-lock-room-${name}`,
          () => void this.attempt(() => this.api.lock(name, !room.locked), t(room.locked ? 'op.roomUnlocked' : 'op.roomLocked', { room: name }))),
        smallButton('op.copyLink', `op-copy-link-${name}`, () => void this.attempt(() => copyLink(this.api, room))),
        smallButton('op.delete', `op-delete-${name}`, () => void this._delete(name), true),
      ],
    };
  }

  /** @param {string} room */
  _choose(room) {
    this.chosenRoom = room;
    void this.attempt(async () => undefined);
    byId('op-participants-block').scrollIntoView({ block: 'nearest' });
  }

  /** @param {string} room */
  async _delete(room) {
    if (!await confirmed(t('op.deleteAsk', { room }))) return;
    await this.attempt(() => this.api.deleteRoom(room), t('op.deleted', { room }));
  }

  /**
   * @param {Waiting} entry
   * @returns {RowContent}
   */
  _waitingRow({ ticket, display_name: name, state, waits_for: waitsFor }) {
    const room = /** @type {string} */ (this.chosenRoom);
    const waits = state === 'waiting';
    const words = waitsFor === 'host' ? 'op.waits' : 'op.waitsForPlace';
    return {
      key: `${room}/waiting/${ticket}`,
      testId: `op-waiting-${ticket}`,
      name,
      about: [t(waits ? words : 'op.comesIn')],
      figures: [],
      actionsKey: `${language()} ${state}`,
      actions: waits ? [
        ...waitsFor === 'host' ? [smallButton('op.admit', `op-admit-${ticket}`, () => void this.attempt(() => this.api.decide(room, 'admit', [ticket])))] : [],
        smallButton('op.refuse', `op-refuse-${ticket}`, () => void this.attempt(() => this.api.decide(room, 'refuse', [ticket])), true),
      ] : [],
    };
  }

  /**
   * @param {Participant} entry
   * @returns {RowContent}
   */
  _participantRow(entry) {
    const { participant, report } = entry;
    const room = /** @type {string} */ (this.chosenRoom);
    return {
      key: `${room}/${participant}`,
      testId: `op-participant-${participant}`,
      name: entry.display_name,
      about: [stateMark(entry.state), ` · ${entry.edge ?? '–'} · ${entry.node ?? '–'}${entry.publishes ? ` · ${t('op.publishes')}` : ''}${entry.hand_raised ? ` · ${t('people.hand')}` : ''}`],
      figures: [
        figure('stats.rtt', milliseconds(report?.rtt_ms)),
        figure('stats.loss', report?.loss == null ? '–' : percent(report.loss)),
        figure('stats.bitrate', report ? bitrate(entry.publishes ? report.received_bps : report.sent_bps) : '–'),
        figure('op.quality', entry.quality == null ? '–' : entry.quality.toFixed(0)),
        figure('op.picture', picture(report)),
        figure('stats.photon', milliseconds(report?.input_to_photon_ms)),
      ],
      actionsKey: `${language()} ${entry.muted} ${entry.role}`,
      actions: [
        this._roleMenu(room, entry),
        smallButton(entry.muted ? 'op.unmute' : 'op.mute', `op-mute-${participant}`,
          () => void this.attempt(() => this.api.change(room, participant, { muted: !entry.muted }))),
        smallButton('op.remove', `op-remove-${participant}`, () => void this._remove(room, entry), true),
      ],
    };
  }

  /**
   * @param {string} room
   * @param {Participant} entry
   */
  _roleMenu(room, entry) {
    const options = ROLES.map((role) => el('option', { value: role, selected: role === entry.role }, t(`role.${role}`)));
    const menu = el('select', { 'aria-label': t('op.role'), 'data-testid': `op-role-${entry.participant}` }, ...options);
    menu.addEventListener('change', () => void this.attempt(() => this.api.change(room, entry.participant, { role: menu.value })));
    return menu;
  }

  /**
   * @param {string} room
   * @param {Participant} entry
   */
  async _remove(room, entry) {
    const name = entry.display_name;
    if (!await confirmed(t('op.removeAsk', { name }))) return;
    await this.attempt(() => this.api.remove(room, entry.participant), t('op.removed', { name }));
  }

  /**
   * @param {Node} entry
   * @returns {RowContent}
   */
  _nodeRow(entry) {
    const { node, state, capability, load } = entry;
    const inService = state === 'ready';
    return {
      key: node,
      testId: `op-node-${node}`,
      name: node,
      about: [stateMark(state), ` · ${entry.region} · ${capability.renderer} · ${capability.device}${staleness(entry.last_seen_s)}`],
      figures: [
        figure('op.capacity', percent(entry.load_ratio)),
        sparkline(this._history.add(`node/${node}`, entry.load_ratio), 1),
        figure('op.views', String(load.views)),
        figure('op.framesPerS', `${load.frames_per_s.toFixed(0)} /s`),
        figure('op.renderMs', milliseconds(load.render_ms_p50)),
        figure('op.encodeMs', milliseconds(load.encode_ms_p50)),
        figure('op.cpu', percent(load.cpu_share)),
      ],
      actionsKey: `${language()} ${state}`,
      actions: state === 'lost' ? [] : [
        smallButton(inService ? 'op.drain' : 'op.undrain', `op-drain-${node}`, () => void this._drainOrCallOff(node, inService), inService),
      ],
    };
  }

  /**
   * @param {string} node
   * @param {boolean} inService
   */
  async _drainOrCallOff(node, inService) {
    if (!inService) return this.attempt(() => this.api.callOffDrain(node), t('op.drainCalledOff', { node }));
    if (!await confirmed(t('op.drainAsk', { node }))) return undefined;
    return this.attempt(() => this.api.drain(node), t('op.drainStarted', { node }));
  }

  /**
   * @param {string} region
   * @param {boolean} inService
   */
  async _drainOrCallOffRegion(region, inService) {
    if (!inService) return this.attempt(() => this.api.callOffRegionDrain(region), t('op.drainCalledOff', { node: region }));
    if (!await confirmed(t('op.drainRegionAsk', { region }))) return undefined;
    return this.attempt(() => this.api.drainRegion(region), t('op.drainStarted', { node: region }));
  }

  /**
   * @param {Edge} entry
   * @returns {RowContent}
   */
  _edgeRow({ edge, region, state, public_url: url, capability, load, last_seen_s: lastSeenS }) {
    return {
      key: edge,
      testId: `op-edge-${edge}`,
      name: edge,
      about: [stateMark(state), ` · ${region} · ${capability.engine} · ${url}${staleness(lastSeenS)}`],
      figures: [
        figure('op.viewers', `${load.viewers} / ${capability.max_viewers}`),
        sparkline(this._history.add(`edge/${edge}`, load.egress_bps)),
        figure('op.egress', bitrate(load.egress_bps)),
        figure('op.cpu', percent(load.cpu_share)),
      ],
      actionsKey: '',
      actions: [],
    };
  }
}

/**
 * @template T
 * @param {T[]} list
 * @param {(entry: T) => number} value
 */
function sum(list, value) {
  return list.reduce((total, entry) => total + value(entry), 0);
}

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** @param {number} wh */
function energy(wh) {
  return wh < 1000 ? `${wh.toFixed(1)} Wh` : `${(wh / 1000).toFixed(2)} kWh`;
}

/** @param {number} grams */
function mass(grams) {
  return grams < 1000 ? `${grams.toFixed(1)} g` : `${(grams / 1000).toFixed(2)} kg`;
}

/** @param {ViewerReport | null} report */
function picture(report) {
  const size = report?.width ? `${report.width} × ${report.height}` : '–';
  return report?.frames_per_s == null ? size : `${size} · ${report.frames_per_s.toFixed(0)} /s`;
}

/** @param {number | null | undefined} value */
function milliseconds(value) {
  return value == null ? '–' : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** @param {number} lastSeenS */
function staleness(lastSeenS) {
  return lastSeenS > 3 ? ` · ${t('op.lastSeen', { seconds: Math.round(lastSeenS) })}` : '';
}

/** The broker's operator API, with the key as a bearer token. */

import { requestJson } from '../sdk/problems.js';

/** @import {Mode, Role} from '../sdk/protocol.js' */

const PAGE = 500;
const MOST_PAGES = 20;
const LATEST_ENTRIES = 12;

/**
 * @typedef {object} Room
 * @property {string} room
 * @property {Mode} mode
 * @property {string} scene
 * @property {number} max_participants
 * @property {boolean} open
 * @property {boolean} locked
 * @property {boolean} waiting_room
 * @property {number} participants
 * @property {string | null} node
 */
/**
 * @typedef {object} ViewerReport
 * @property {number | null} [rtt_ms]
 * @property {number | null} [loss]
 * @property {number} sent_bps
 * @property {number} received_bps
 * @property {number | null} [frames_per_s]
 * @property {number | null} [input_to_photon_ms]
 * @property {number | null} [width]
 * @property {number | null} [height]
 */
/**
 * @typedef {object} Participant
 * @property {string} participant
 * @property {string} display_name
 * @property {Role} role
 * @property {boolean} muted
 * @property {boolean} hand_raised
 * @property {boolean} publishes
 * @property {'connecting' | 'live' | 'replacing' | 'ended'} state
 * @property {string | null} edge
 * @property {string | null} node
 * @property {ViewerReport | null} report
 * @property {number | null} quality What the viewer experiences, 0 to 100.
 */
/**
 * @typedef {object} Waiting Somebody before the door.
 * @property {string} ticket
 * @property {string} display_name
 * @property {string} state
 * @property {'host' | 'capacity'} waits_for
 */
/** @typedef {{participant_s: number, energy_wh: number, carbon_g: number, cost: number}} Usage */
/** @typedef {'ready' | 'draining' | 'drained' | 'lost'} AgentState */
/**
 * @typedef {object} Node
 * @property {string} node
 * @property {string} region
 * @property {AgentState} state
 * @property {{renderer: string, device: string, units: number, scenes: string[]}} capability
 * @property {{views: number, cpu_share: number, render_ms_p50: number, encode_ms_p50: number, frames_per_s: number}} load
 * @property {number} load_ratio
 * @property {number} sessions
 * @property {number} last_seen_s
 */
/**
 * @typedef {object} Edge
 * @property {string} edge
 * @property {string} region
 * @property {AgentState} state
 * @property {string} public_url
 * @property {{engine: string, max_viewers: number}} capability
 * @property {{viewers: number, cpu_share: number, egress_bps: number}} load
 * @property {number} load_ratio
 * @property {number} last_seen_s
 */
/** @typedef {{p50: number, p95: number}} Spread Over viewers. */
/**
 * @typedef {object} Region
 * @property {string} region
 * @property {number} nodes
 * @property {number} nodes_ready
 * @property {number} units
 * @property {number} units_used
 * @property {number} edges
 * @property {number} edges_ready
 * @property {number} viewers
 * @property {number} max_viewers
 * @property {number | null} quality
 * @property {number} below_good
 * @property {Spread | null} rtt_ms
 * @property {Spread | null} loss
 * @property {number} power_w
 * @property {number} carbon_g_per_h
 * @property {number} cost_per_h
 */
/**
 * @typedef {object} Move Views of a room that went to another node.
 * @property {string} at
 * @property {string} room
 * @property {number} views
 * @property {string | null} from_node
 * @property {string | null} from_region
 * @property {string} to_node
 * @property {string | null} to_region
 * @property {boolean} planned
 */
/**
 * @typedef {object} Webhook
 * @property {string} webhook
 * @property {string} name
 * @property {string} url
 * @property {boolean} enabled
 * @property {string} disabled_reason
 * @property {number} waiting
 * @property {number} dead_letters
 */
/** @typedef {{delivered: boolean, status: number | null, error: string, duration_ms: number}} WebhookTest */
/** @typedef {{entry: string, at: string, actor: string, action: string, target: string, status: number, problem: string, address: string}} AuditEntry */
/** @typedef {{room: string | null, mode: string, scene: string, max_participants: number, empty_timeout_s: number, open: boolean, waiting_room: boolean}} RoomCreate */

export class OperatorApi {
  /** @param {string} key */
  constructor(key) {
    this._key = key;
  }

  /** @returns {Promise<Room[]>} */
  async rooms() {
    return this._all('/v1/rooms', 'rooms');
  }

  /**
   * @param {string} room
   * @returns {Promise<Participant[]>}
   */
  async participants(room) {
    return this._all(`/v1/rooms/${encodeURIComponent(room)}/participants`, 'participants');
  }

  /**
   * @param {string} room
   * @returns {Promise<Waiting[]>}
   */
  async waiting(room) {
    return this._all(`/v1/rooms/${encodeURIComponent(room)}/waiting`, 'waiting');
  }

  /**
   * Let some in, or send them away; everybody who waits without `tickets`.
   *
   * @param {string} room
   * @param {'admit' | 'refuse'} decision
   * @param {string[]} [tickets]
   */
  decide(room, decision, tickets) {
    return this._call('POST', `/v1/rooms/${encodeURIComponent(room)}/waiting/${decision}`, tickets ? { tickets } : {});
  }

  /**
   * @param {string} room
   * @param {boolean} isLocked
   */
  lock(room, isLocked) {
    return this._call(isLocked ? 'PUT' : 'DELETE', `/v1/rooms/${encodeURIComponent(room)}/lock`);
  }

  /**
   * What was used since the beginning of today, UTC.
   *
   * @returns {Promise<Usage>}
   */
  async usedToday() {
    const today = new Date().toISOString().slice(0, 10);
    return (await this._call('GET', `/v1/usage?from=${today}&group_by=day`)).total;
  }

  /** @returns {Promise<Node[]>} */
  async nodes() {
    return (await this._call('GET', '/v1/nodes')).nodes;
  }

  /** @returns {Promise<Edge[]>} */
  async edges() {
    return (await this._call('GET', '/v1/edges')).edges;
  }

  /**
   * @param {RoomCreate} room
   * @returns {Promise<Room>}
   */
  createRoom(room) {
    return this._call('POST', '/v1/rooms', room);
  }

  /** @param {string} room */
  deleteRoom(room) {
    return this._call('DELETE', `/v1/rooms/${encodeURIComponent(room)}`);
  }

  /**
   * @param {string} room
   * @param {{identity: string, display_name: string, role: string, ttl_s?: number, publish?: boolean}} guest
   * @returns {Promise<{token: string, link: string}>}
   */
  invite(room, guest) {
    return this._call('POST', `/v1/rooms/${encodeURIComponent(room)}/tokens`, guest);
  }

  /**
   * @param {string} room
   * @param {string} participant
   * @param {{role?: string, muted?: boolean}} change
   */
  change(room, participant, change) {
    return this._call('PATCH', `/v1/rooms/${encodeURIComponent(room)}/participants/${encodeURIComponent(participant)}`, change);
  }

  /**
   * @param {string} room
   * @param {string} participant
   */
  remove(room, participant) {
    return this._call('DELETE', `/v1/rooms/${encodeURIComponent(room)}/participants/${encodeURIComponent(participant)}`);
  }

  /** @returns {Promise<Region[]>} */
  async regions() {
    return (await this._call('GET', '/v1/regions')).regions;
  }

  /** @returns {Promise<Move[]>} The latest first. */
  async moves() {
    return (await this._call('GET', '/v1/moves')).moves;
  }

  /** @param {string} region */
  drainRegion(region) {
    return this._call('POST', `/v1/regions/${encodeURIComponent(region)}/drain`, {});
  }

  /** @param {string} region */
  callOffRegionDrain(region) {
    return this._call('DELETE', `/v1/regions/${encodeURIComponent(region)}/drain`);
  }

  /** @param {string} node */
  drain(node) {
    return this._call('POST', `/v1/nodes/${encodeURIComponent(node)}/drain`, {});
  }

  /** @param {string} node */
  callOffDrain(node) {
    return this._call('DELETE', `/v1/nodes/${encodeURIComponent(node)}/drain`);
  }

  /** @returns {Promise<Webhook[]>} */
  async webhooks() {
    return (await this._call('GET', '/v1/webhooks')).webhooks;
  }

  /**
   * @param {string} webhook
   * @returns {Promise<WebhookTest>}
   */
  testWebhook(webhook) {
    return this._call('POST', `/v1/webhooks/${encodeURIComponent(webhook)}/test`);
  }

  /**
   * @param {string} webhook
   * @param {boolean} enabled
   */
  switchWebhook(webhook, enabled) {
    return this._call('PATCH', `/v1/webhooks/${encodeURIComponent(webhook)}`, { enabled });
  }

  /**
   * Send its dead letters again.
   *
   * @param {string} webhook
   */
  redeliver(webhook) {
    return this._call('POST', `/v1/webhooks/${encodeURIComponent(webhook)}/redeliver`);
  }

  /**
   * The latest entries of the audit log.
   *
   * @returns {Promise<AuditEntry[]>}
   */
  async auditEntries() {
    return (await this._call('GET', `/v1/audit?limit=${LATEST_ENTRIES}`)).entries;
  }

  /**
   * All pages of a list; the broker holds at most 10,000 rooms, and a room of more people than that is cut off.
   *
   * @param {string} path
   * @param {string} key
   * @returns {Promise<any[]>}
   */
  async _all(path, key) {
    const entries = [];
    for (let page = 0, cursor = ''; page < MOST_PAGES; page += 1) {
      const answer = await this._call('GET', `${path}?limit=${PAGE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      entries.push(...answer[key]);
      if (!answer.next_cursor) break;
      cursor = answer.next_cursor;
    }
    return entries;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  _call(method, path, body) {
    return requestJson(path, { method, token: this._key, body });
  }
}

/**
 * What a host does to a room: over HTTP with the session's token, on pages of the broker's own origin. The broker checks
 * the role at every call, so one who is no host, or no longer, is refused (`not-permitted`).
 */

import { requestJson } from './problems.js';

/** @import {JoinGrant, ParticipantChange, Role} from './protocol.js' */

/**
 * @typedef {object} WaitingEntry Somebody before the door.
 * @property {string} ticket
 * @property {string} display_name
 * @property {Role} role
 * @property {'waiting' | 'admitted'} state
 * @property {number | null} position
 * @property {'host' | 'capacity'} waits_for
 */

export class Host {
  /**
   * @param {string} broker
   * @param {() => JoinGrant} grant The session's, as it is now.
   * @param {AbortSignal} signal The session's end.
   */
  constructor(broker, grant, signal) {
    this._broker = broker;
    this._grant = grant;
    this._signal = signal;
  }

  /**
   * Change somebody's role or mute them.
   *
   * @param {string} participant
   * @param {ParticipantChange} change
   * @throws {import('./problems.js').FarstageError}
   */
  async changeParticipant(participant, change) {
    await this._call('PATCH', `participants/${encodeURIComponent(participant)}`, change);
  }

  /**
   * End somebody's visit and withdraw their invitation.
   *
   * @param {string} participant
   * @throws {import('./problems.js').FarstageError}
   */
  async removeParticipant(participant) {
    await this._call('DELETE', `participants/${encodeURIComponent(participant)}`);
  }

  /**
   * Mute everybody but hosts; each can be unmuted singly.
   *
   * @returns {Promise<number>} How many this changed.
   * @throws {import('./problems.js').FarstageError}
   */
  async muteAll() {
    return (await this._call('POST', 'mute', {})).changed;
  }

  /**
   * Those who wait to be let in, the first fifty, in order of coming.
   *
   * @returns {Promise<WaitingEntry[]>}
   * @throws {import('./problems.js').FarstageError}
   */
  async waiting() {
    /** @type {WaitingEntry[]} */
    const entries = (await this._call('GET', 'waiting')).waiting;
    return entries.filter(({ state }) => state === 'waiting');
  }

  /**
   * Let these in, or everybody who waits.
   *
   * @param {string[]} [tickets]
   * @throws {import('./problems.js').FarstageError}
   */
  async admit(tickets) {
    await this._call('POST', 'waiting/admit', { tickets });
  }

  /**
   * Send these away, or everybody who waits.
   *
   * @param {string[]} [tickets]
   * @throws {import('./problems.js').FarstageError}
   */
  async refuse(tickets) {
    await this._call('POST', 'waiting/refuse', { tickets });
  }

  /**
   * @param {string} method
   * @param {string} path Below the room's.
   * @param {unknown} [body]
   */
  _call(method, path, body) {
    const { room, session_token: token } = this._grant();
    return requestJson(`${this._broker}/v1/rooms/${encodeURIComponent(room)}/${path}`, { method, token, body, signal: this._signal });
  }
}

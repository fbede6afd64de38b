/** The entrance: a name, a room, one button. */

import { IDENTIFIER } from '../sdk/protocol.js';
import { byId } from './dom.js';
import { followLanguage, t } from './i18n.js';

/** @import {Address} from './address.js' */
/** @import {WordKey} from './i18n.js' */

const NAME_KEY = 'farstage.name';

/** @typedef {{name: string, room: string}} Entry */

export class Lobby {
  /**
   * @param {Address} address
   * @param {(entry: Entry) => void} enter
   */
  constructor(address, enter) {
    this._enter = enter;
    this._name = /** @type {HTMLInputElement} */ (byId('lobby-name'));
    this._room = /** @type {HTMLInputElement} */ (byId('lobby-room'));
    const invitedName = address.token === null ? '' : nameInInvitation(address.token);
    this._name.value = invitedName || address.name || localStorage.getItem(NAME_KEY) || '';
    this._name.readOnly = invitedName !== '';
    this._room.value = address.room || 'demo';
    byId('lobby-invited').hidden = address.token === null;
    /** @type {WordKey | null} */
    this._fault = null;
    byId('lobby-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    followLanguage(() => this._showFault());
  }

  show() {
    byId('lobby').hidden = false;
    document.documentElement.classList.remove('in-stage');
    (this._name.value ? this._room : this._name).focus({ preventScroll: true });
  }

  /** The invitation is spent: the name is the visitor's own again. */
  forgetInvitation() {
    byId('lobby-invited').hidden = true;
    this._name.readOnly = false;
  }

  hide() {
    byId('lobby').hidden = true;
  }

  /**
   * Check the entry and go in.
   *
   * @returns {boolean} Whether the entry was good.
   */
  submit() {
    const entry = { name: this._name.value.trim(), room: this._room.value.trim() };
    this._fault = faultOf(entry);
    this._showFault();
    if (this._fault) {
      (entry.name ? this._room : this._name).focus();
      return false;
    }
    if (!this._name.readOnly) localStorage.setItem(NAME_KEY, entry.name);
    this._enter(entry);
    return true;
  }

  _showFault() {
    const line = byId('lobby-error');
    line.hidden = this._fault === null;
    line.textContent = this._fault ? t(this._fault) : '';
  }
}

/**
 * The name an invitation was made out for; the broker goes by it, whatever is typed here.
 *
 * @param {string} token A JWT (RFC 7519).
 * @returns {string} Empty if it has none, or is no token.
 */
export function nameInInvitation(token) {
  try {
    const payload = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const { name } = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (char) => char.charCodeAt(0))));
    return typeof name === 'string' ? name : '';
  } catch {
    return '';
  }
}

/**
 * @param {Entry} entry
 * @returns {WordKey | null}
 */
function faultOf({ name, room }) {
  if (!name) return 'lobby.nameMissing';
  return IDENTIFIER.test(room) ? null : 'lobby.roomMissing';
}

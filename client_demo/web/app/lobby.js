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
    this._name.value = address.name || localStorage.getItem(NAME_KEY) || '';
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

  hide() {
    byId('lobby').hidden = true;
  }

  /** Check the entry and go in. */
  submit() {
    const entry = { name: this._name.value.trim(), room: this._room.value.trim() };
    this._fault = faultOf(entry);
    this._showFault();
    if (this._fault) return (entry.name ? this._room : this._name).focus();
    localStorage.setItem(NAME_KEY, entry.name);
    return this._enter(entry);
  }

  _showFault() {
    const line = byId('lobby-error');
    line.hidden = this._fault === null;
    line.textContent = this._fault ? t(this._fault) : '';
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

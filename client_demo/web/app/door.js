/** The door as a host sees it: who waits, and whom to let in. */

import { FarstageError } from '../sdk/farstage.js';
import { actionButton } from './buttons.js';
import { byId, el } from './dom.js';
import { t } from './i18n.js';
import { notice } from './notices.js';

/** @import {WaitingEntry} from '../sdk/host.js' */
/** @import {Session} from '../sdk/session.js' */

/** Keeps the list of those who wait as it is told that it has changed; one request at a time. */
export class Door {
  /**
   * @param {Session} session
   * @param {(change: Promise<void>) => void} carryOut Tells the host if it failed.
   */
  constructor(session, carryOut) {
    this._session = session;
    this._carryOut = carryOut;
    /** @type {WaitingEntry[]} */
    this._entries = [];
    this._count = 0;
    this._asking = false;
    this._stale = false;
  }

  /** @param {number} count How many wait now. */
  async changed(count) {
    if (count > this._count) notice(t('door.someoneWaits', { count }));
    this._count = count;
    this._stale = true;
    if (this._asking) return;
    this._asking = true;
    try {
      while (this._stale) await this._ask();
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
    } finally {
      this._asking = false;
    }
  }

  async _ask() {
    this._stale = false;
    const entries = this._count > 0 ? await this._session.host.waiting() : [];
    this._entries = entries.filter((entry) => entry.waits_for === 'host');
    this.show();
  }

  /** Fill the panel; only hosts see it. */
  show() {
    const isHost = this._session.role === 'host';
    const count = isHost ? this._count : 0;
    byId('host-tools').hidden = !isHost;
    byId('door').hidden = count === 0;
    byId('door-count').textContent = t('door.count', { count });
    byId('door-list').replaceChildren(...this._entries.map((entry) => this._row(entry)));
    if (count > 0) actionButton('people').dataset.badge = String(Math.min(99, count));
    else delete actionButton('people').dataset.badge;
  }

  /** Let everybody in who waits. */
  admitAll() {
    this._carryOut(this._session.host.admit());
  }

  /** @param {WaitingEntry} entry */
  _row({ ticket, display_name: name }) {
    const { host } = this._session;
    return el('li', { className: 'person', 'data-testid': `waiting-${ticket}` },
      el('span', { className: 'person__name' }, name),
      el('span', { className: 'person__tools', role: 'group', 'aria-label': name },
        this._button('admit', ticket, t('door.admit'), () => this._carryOut(host.admit([ticket]))),
        this._button('refuse', ticket, t('door.refuse'), () => this._carryOut(host.refuse([ticket])))));
  }

  /**
   * @param {string} action
   * @param {string} ticket
   * @param {string} words
   * @param {() => void} onclick
   */
  _button(action, ticket, words, onclick) {
    return el('button', { type: 'button', className: 'person__tool', 'data-testid': `${action}-${ticket}`, onclick }, words);
  }
}

/** The operator page: the key, the poll, the forms. */

import { byId } from '../app/dom.js';
import { withoutSecrets } from '../app/address.js';
import { followLanguage, startLanguage, switchLanguage, t } from '../app/i18n.js';
import { notice } from '../app/notices.js';
import { FarstageError } from '../sdk/problems.js';
import { OperatorApi } from './api.js';
import { Desk } from './desk.js';
import { copyInvitation, invitePublisher } from './links.js';

const KEY_STORAGE = 'farstage.operatorKey';
const POLL_INTERVAL_MS = 1000;

class OperatorPage {
  constructor() {
    const key = new URLSearchParams(location.hash.slice(1)).get('key');
    if (key) sessionStorage.setItem(KEY_STORAGE, key);
    history.replaceState(null, '', withoutSecrets(location.href));
    /** @type {OperatorApi | null} */
    this._api = null;
    /** @type {Desk | null} */
    this._desk = null;
    this._wire();
    followLanguage(() => { document.title = t('op.title'); this._desk?.show(); });
  }

  start() {
    const key = sessionStorage.getItem(KEY_STORAGE);
    if (key) void this._open(key);
    else this._askForKey(false);
  }

  _wire() {
    byId('op-language').addEventListener('click', switchLanguage);
    byId('op-lock').addEventListener('click', () => this._lock(false));
    onSubmit('op-key-form', () => void this._open(/** @type {HTMLInputElement} */ (byId('op-key')).value.trim()));
    byId('op-admit-all').addEventListener('click', () => void this._desk?.admitAll());
    onSubmit('op-create', (form) => void this._createRoom(form));
    onSubmit('op-invite', (form) => void this._invite(form));
  }

  /** @param {boolean} refused */
  _askForKey(refused) {
    byId('op-desk').hidden = true;
    byId('op-lock').hidden = true;
    byId('op-gate').hidden = false;
    byId('op-key-error').hidden = !refused;
    byId('op-key').focus();
  }

  /** @param {boolean} refused */
  _lock(refused) {
    sessionStorage.removeItem(KEY_STORAGE);
    this._desk = null;
    this._askForKey(refused);
  }

  /** @param {string} key */
  async _open(key) {
    this._api = new OperatorApi(key);
    const desk = new Desk(this._api);
    this._desk = desk;
    sessionStorage.setItem(KEY_STORAGE, key);
    while (this._desk === desk) {
      await this._poll(desk);
      await new Promise((resolve) => { setTimeout(resolve, POLL_INTERVAL_MS); });
    }
  }

  /** @param {Desk} desk */
  async _poll(desk) {
    if (document.hidden) return;
    try {
      await desk.poll();
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
      if (error.problem.status === 401 || error.problem.status === 403) this._lock(true);
      else byId('op-fault').hidden = false;
      return;
    }
    byId('op-fault').hidden = true;
    byId('op-gate').hidden = true;
    byId('op-desk').hidden = this._desk !== desk;
    byId('op-lock').hidden = false;
  }

  /** @param {HTMLFormElement} form */
  async _createRoom(form) {
    const fields = new FormData(form);
    const [api, desk] = [this._api, this._desk];
    if (!api || !desk || !form.reportValidity()) return;
    await desk.attempt(async () => {
      const created = await api.createRoom({
        room: String(fields.get('room')).trim() || null,
        mode: String(fields.get('mode')),
        scene: String(fields.get('scene')).trim(),
        max_participants: Number(fields.get('limit')),
        empty_timeout_s: Number(fields.get('emptyTimeout')),
        open: fields.get('open') === 'on',
        waiting_room: fields.get('waitingRoom') === 'on',
      });
      desk.chosenRoom = created.room;
      form.reset();
      form.closest('details')?.removeAttribute('open');
      notice(t('op.created', { room: created.room }));
    });
  }

  /** @param {HTMLFormElement} form */
  async _invite(form) {
    const fields = new FormData(form);
    const [api, desk] = [this._api, this._desk];
    if (!api || !desk?.chosenRoom) return;
    const room = desk.chosenRoom;
    const name = String(fields.get('name')).trim();
    if (fields.get('role') === 'publisher') {
      await desk.attempt(() => invitePublisher(api, room, name || t('op.publisher')));
      return;
    }
    const role = /** @type {'visitor'} */ (String(fields.get('role')));
    await desk.attempt(() => copyInvitation(api, room, name || t(`role.${role}`), role));
  }
}

/**
 * @param {string} id
 * @param {(form: HTMLFormElement) => void} handle
 */
function onSubmit(id, handle) {
  const form = /** @type {HTMLFormElement} */ (byId(id));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    handle(form);
  });
}

startLanguage();
new OperatorPage().start();

/** A line to everyone, and everyone's lines. */

import { byId, el } from './dom.js';
import { followLanguage, t } from './i18n.js';

/** @import {ChatLine} from '../sdk/protocol.js' */

const MOST_LINES = 200;

export class ChatPanel {
  /** @param {(text: string) => boolean} send Returns whether the line left. */
  constructor(send) {
    this._lines = byId('chat-lines');
    this._text = /** @type {HTMLInputElement} */ (byId('chat-text'));
    byId('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (send(this._text.value)) this._text.value = '';
    });
    followLanguage(() => this._showEmpty());
  }

  /** @param {ChatLine} line */
  add(line) {
    this._lines.querySelector('.chat__empty')?.remove();
    this._lines.append(el('li', {},
      el('span', { className: 'chat__who' }, line.display_name),
      el('span', { className: 'chat__text' }, line.text)));
    while (this._lines.children.length > MOST_LINES) this._lines.firstElementChild?.remove();
    this._lines.scrollTop = this._lines.scrollHeight;
  }

  clear() {
    this._lines.replaceChildren();
    this._showEmpty();
  }

  _showEmpty() {
    const empty = this._lines.querySelector('.chat__empty');
    if (empty) empty.textContent = t('chat.empty');
    else if (!this._lines.children.length) this._lines.append(el('li', { className: 'chat__empty' }, t('chat.empty')));
  }
}

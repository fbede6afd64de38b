/** The words that stand in for a picture, or lie over it: what is going on, what went wrong, what one can do. */

import { byId, el } from './dom.js';
import { followLanguage, t } from './i18n.js';

/** @import {WordKey} from './i18n.js' */

/**
 * @typedef {object} BannerWords
 * @property {WordKey} title
 * @property {() => string} [detail] Asked again each half second, so that it can count down.
 * @property {'working' | 'ended'} [tone]
 * @property {{word: WordKey, act: () => void, primary?: boolean, testId?: string}[]} [actions]
 */

const REFRESH_MS = 500;

export class Banner {
  constructor() {
    this._root = byId('banner');
    /** @type {BannerWords | null} */
    this._words = null;
    setInterval(() => this._fillDetail(), REFRESH_MS);
    followLanguage(() => this._fill());
  }

  /**
   * @param {BannerWords} words
   * @param {{veil: boolean}} options Whether there is no picture, and the banner takes the whole page.
   */
  show(words, { veil }) {
    this._words = words;
    this._root.hidden = false;
    this._root.dataset.veil = String(veil);
    this._root.dataset.tone = words.tone ?? 'working';
    this._fill();
    if (words.tone === 'ended') byId('banner-actions').querySelector('button')?.focus();
  }

  hide() {
    this._words = null;
    this._root.hidden = true;
    for (const id of ['banner-title', 'banner-detail', 'banner-actions']) byId(id).replaceChildren();
  }

  _fill() {
    if (!this._words) return;
    byId('banner-title').textContent = t(this._words.title);
    this._fillDetail();
    const buttons = (this._words.actions ?? []).map(({ word, act, primary, testId }) =>
      el('button', {
        type: 'button',
        className: primary ? 'button button--primary' : 'button',
        'data-testid': testId ?? `banner-${word.split('.').pop()}`,
        onclick: act,
      }, t(word)));
    byId('banner-actions').replaceChildren(...buttons);
  }

  _fillDetail() {
    const words = this._words?.detail?.() ?? '';
    const detail = byId('banner-detail');
    if (detail.textContent !== words) detail.textContent = words;
  }
}

/**
 * Whole seconds until a time on the clock of `performance.now()`.
 *
 * @param {number} atMs
 */
export function secondsUntil(atMs) {
  return Math.max(0, Math.ceil((atMs - performance.now()) / 1000));
}

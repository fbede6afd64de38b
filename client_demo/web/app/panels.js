/** Drawers of which one is open at a time. Esc closes it, and focus goes back to where it came from. */

import { byId, el } from './dom.js';
import { followLanguage, t } from './i18n.js';
import { icon } from './icons.js';

/** @typedef {'people' | 'chat' | 'exhibits' | 'cameras' | 'help'} PanelName */

export class Panels {
  constructor() {
    /** @type {PanelName | null} */
    this.open = null;
    /** @type {(name: PanelName) => void} */
    this.onOpen = () => undefined;
    for (const panel of document.querySelectorAll('[data-panel]')) {
      const close = el('button', { type: 'button', className: 'tool panel__close', onclick: () => this.close() }, icon('close'));
      followLanguage(() => close.setAttribute('aria-label', t('button.close')));
      panel.append(close);
    }
  }

  /** @param {PanelName} name */
  toggle(name) {
    if (this.open === name) return this.close();
    this.close();
    document.exitPointerLock?.();
    this.open = name;
    const panel = byId(`panel-${name}`);
    panel.hidden = false;
    this._mark(name, true);
    this.onOpen(name);
    const target = panel.querySelector('input, [aria-pressed="true"], .choice, .panel__close');
    return /** @type {HTMLElement | null} */ (target)?.focus({ preventScroll: true });
  }

  close() {
    if (!this.open) return;
    byId(`panel-${this.open}`).hidden = true;
    this._mark(this.open, false);
    this._button(this.open)?.focus({ preventScroll: true });
    this.open = null;
  }

  /**
   * @param {PanelName} name
   * @param {boolean} expanded
   */
  _mark(name, expanded) {
    this._button(name)?.setAttribute('aria-expanded', String(expanded));
  }

  /**
   * @param {PanelName} name
   * @returns {HTMLElement | null}
   */
  _button(name) {
    return document.querySelector(`#stage [data-action="${name}"]`);
  }
}

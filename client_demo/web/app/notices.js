/** Short-lived words at the lower edge, read aloud by screen readers. */

import { byId, el } from './dom.js';

const SHOWN_MS = 4000;
const MOST_AT_ONCE = 3;

/** @param {string} words */
export function notice(words) {
  const list = byId('notices');
  const element = el('div', { className: 'notice' }, words);
  list.append(element);
  while (list.children.length > MOST_AT_ONCE) list.firstElementChild?.remove();
  setTimeout(() => element.remove(), SHOWN_MS);
}

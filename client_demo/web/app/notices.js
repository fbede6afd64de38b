/** Short-lived words at the lower edge, read aloud by screen readers. */

import { byId, el } from './dom.js';

const SHOWN_MS = 4000;
const MOST_AT_ONCE = 3;

/** @param {string} words Said once, however often: the same words again only stay longer. */
export function notice(words) {
  const list = byId('notices');
  for (const shown of [...list.children]) if (shown.textContent === words) shown.remove();
  const element = el('div', { className: 'notice' }, words);
  list.append(element);
  while (list.children.length > MOST_AT_ONCE) list.firstElementChild?.remove();
  setTimeout(() => element.remove(), SHOWN_MS);
}

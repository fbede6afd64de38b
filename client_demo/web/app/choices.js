/** Lists of which one entry is chosen: exhibits, stage cameras. */

import { byId, el } from './dom.js';

/** @typedef {{name: string, title: string}} Choice */

/**
 * @param {string} listId
 * @param {Choice[]} choices
 * @param {string | null} chosen
 * @param {(name: string) => void} choose
 */
export function showChoices(listId, choices, chosen, choose) {
  const list = byId(listId);
  const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('data-name') : null;
  list.replaceChildren(...choices.map(({ name, title }) => el('li', {}, el('button', {
    type: 'button',
    className: 'choice',
    'data-name': name,
    'data-testid': `choice-${name}`,
    'aria-pressed': name === chosen,
    onclick: () => choose(name),
  }, title))));
  if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-name="${CSS.escape(focused)}"]`))?.focus();
}

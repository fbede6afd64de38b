/** Rows of the desk, updated in place so that focus, open menus and screen readers keep their place. */

import { el } from '../app/dom.js';
import { t } from '../app/i18n.js';

/**
 * @typedef {object} RowContent
 * @property {string} key
 * @property {string} testId
 * @property {string} name
 * @property {(Node | string)[]} about
 * @property {(Node | null)[]} figures
 * @property {HTMLElement[]} actions
 * @property {string} actionsKey Actions are rebuilt only when this changes.
 * @property {boolean} [chosen]
 */

/**
 * Make `list` show these rows.
 *
 * @param {HTMLElement} list
 * @param {RowContent[]} rows
 * @param {string} emptyWords
 */
export function showRows(list, rows, emptyWords) {
  const existing = new Map([...list.querySelectorAll('.row')].map((row) => [row.getAttribute('data-key'), row]));
  const elements = rows.map((content) => update(/** @type {HTMLElement | undefined} */ (existing.get(content.key)) ?? emptyRow(content), content));
  const wanted = elements.length ? elements : [el('p', { className: 'dim' }, emptyWords)];
  const unchanged = wanted.length === list.children.length && wanted.every((element, index) => element === list.children[index]);
  if (!unchanged) list.replaceChildren(...wanted);
}

/** @param {RowContent} content */
function emptyRow(content) {
  return el('div', { className: 'row', 'data-key': content.key, 'data-testid': content.testId },
    el('div', { className: 'row__name' }, el('strong'), el('span')),
    el('dl', { className: 'row__figures' }),
    el('div', { className: 'row__actions' }));
}

/**
 * @param {HTMLElement} row
 * @param {RowContent} content
 */
function update(row, content) {
  const [name, figures, actions] = /** @type {HTMLElement[]} */ ([...row.children]);
  name.children[0].textContent = content.name;
  name.children[1].replaceChildren(...content.about);
  figures.replaceChildren(...content.figures.filter((figure) => figure !== null));
  row.dataset.chosen = String(content.chosen ?? false);
  if (actions.dataset.key !== content.actionsKey) {
    actions.dataset.key = content.actionsKey;
    actions.replaceChildren(...content.actions);
  }
  return row;
}

/**
 * @param {import('../app/i18n.js').WordKey} word
 * @param {string} value
 */
export function figure(word, value) {
  return el('div', { className: 'figure' }, el('dt', {}, t(word)), el('dd', {}, value));
}

/** @param {string} state */
export function stateMark(state) {
  return el('span', { className: 'state', 'data-state': state }, t(/** @type {import('../app/i18n.js').WordKey} */ (`op.state.${state}`)));
}

/**
 * @param {import('../app/i18n.js').WordKey} word
 * @param {string} testId
 * @param {() => void} act
 * @param {boolean} [alarming]
 */
export function smallButton(word, testId, act, alarming = false) {
  const className = `button button--small${alarming ? ' button--alarm' : ''}`;
  return el('button', { type: 'button', className, 'data-testid': testId, onclick: act }, t(word));
}

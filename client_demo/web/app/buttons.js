/** The round buttons of the stage, by the action they stand for. */

import { t } from './i18n.js';

/** @import {WordKey} from './i18n.js' */

/**
 * @param {string} action
 * @returns {HTMLElement}
 */
export function actionButton(action) {
  const button = document.querySelector(`#stage [data-action="${action}"]`);
  if (!(button instanceof HTMLElement)) throw new Error(`the stage has no button for ${action}`);
  return button;
}

/**
 * Change what a button says it does; it follows the language from then on.
 *
 * @param {string} action
 * @param {WordKey} word
 */
export function nameButton(action, word) {
  const button = actionButton(action);
  button.setAttribute('data-word-label', word);
  button.setAttribute('aria-label', t(word));
  button.title = t(word);
}

/**
 * @param {string} action
 * @param {boolean} pressed
 */
export function pressButton(action, pressed) {
  actionButton(action).setAttribute('aria-pressed', String(pressed));
}

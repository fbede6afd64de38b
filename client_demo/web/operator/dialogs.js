/** Asking before something that cannot be taken back, and handing over what must be copied by hand. */

import { byId } from '../app/dom.js';

/**
 * @param {string} question
 * @returns {Promise<boolean>}
 */
export function confirmed(question) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('op-dialog'));
  byId('op-question').textContent = question;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/** @param {string} link */
export function showLink(link) {
  const field = /** @type {HTMLInputElement} */ (byId('op-link'));
  field.value = link;
  /** @type {HTMLDialogElement} */ (byId('op-link-dialog')).showModal();
  field.select();
}

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

/**
 * What an encoder is given: fields that select themselves when they are touched.
 *
 * @param {string} address
 * @param {string} token
 */
export function showPublishing(address, token) {
  for (const [id, value] of [['op-publish-address', address], ['op-publish-token', token]]) {
    const field = /** @type {HTMLInputElement} */ (byId(id));
    field.value = value;
    field.onfocus = () => field.select();
  }
  /** @type {HTMLDialogElement} */ (byId('op-publish-dialog')).showModal();
}

/** @param {string} link */
export function showLink(link) {
  const field = /** @type {HTMLInputElement} */ (byId('op-link'));
  field.value = link;
  /** @type {HTMLDialogElement} */ (byId('op-link-dialog')).showModal();
  field.select();
}

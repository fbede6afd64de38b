/** Links that let people in: the plain one of an open room, or one that carries an invitation. */

import { t } from '../app/i18n.js';
import { notice } from '../app/notices.js';
import { showLink, showPublishing } from './dialogs.js';

/** @import {OperatorApi, Room} from './api.js' */

/**
 * Copy the plain link of an open room; of any other, an invitation for one visitor.
 *
 * @param {OperatorApi} api
 * @param {Room} room
 */
export async function copyLink(api, room) {
  if (room.open) return copy(`${location.origin}/?room=${encodeURIComponent(room.room)}`);
  return copyInvitation(api, room.room, t('role.visitor'), 'visitor');
}

/**
 * Copy a link that lets one person in once, under this name and role.
 *
 * @param {OperatorApi} api
 * @param {string} room
 * @param {string} displayName
 * @param {string} role
 */
export async function copyInvitation(api, room, displayName, role) {
  const { link } = await api.invite(room, { identity: freshIdentity('guest'), display_name: displayName, role });
  await copy(link);
}

const PUBLISHING_S = 86_400;

/**
 * Show what an encoder needs to publish a stage: address and token, good for a day.
 *
 * @param {OperatorApi} api
 * @param {string} room
 * @param {string} displayName
 */
export async function invitePublisher(api, room, displayName) {
  const encoder = { identity: freshIdentity('encoder'), display_name: displayName, role: 'speaker', ttl_s: PUBLISHING_S, publish: true };
  const { link, token } = await api.invite(room, encoder);
  showPublishing(link, token);
}

/** @param {string} kind */
function freshIdentity(kind) {
  return `${kind}-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
}

/**
 * Put a link on the clipboard; where the browser has none (plain HTTP on another host), show it to be copied by hand.
 *
 * @param {string} link
 */
async function copy(link) {
  try {
    await navigator.clipboard.writeText(link);
    notice(t('op.copied', { link: link.split('#')[0] }));
  } catch {
    showLink(link);
  }
}

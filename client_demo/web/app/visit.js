/**
 * An invited visitor's place, kept in this tab: an invitation lets in once, so a reload must go on with the same session.
 */

/** @import {JoinGrant} from '../sdk/protocol.js' */
/** @import {Entry} from './lobby.js' */

/** @typedef {{grant: JoinGrant, entry: Entry, broker: string}} Visit */

const KEY = 'farstage.visit';

/** @param {Visit} visit */
export function keepVisit(visit) {
  sessionStorage.setItem(KEY, JSON.stringify(visit));
}

/**
 * @param {string} room The room that the address names; '' for any.
 * @returns {Visit | null}
 */
export function keptVisit(room) {
  const kept = sessionStorage.getItem(KEY);
  if (!kept) return null;
  /** @type {Visit} */
  const visit = JSON.parse(kept);
  return room === '' || room === visit.entry.room ? visit : null;
}

export function forgetVisit() {
  sessionStorage.removeItem(KEY);
}

/** Who is here. */

import { byId, el } from './dom.js';
import { t } from './i18n.js';
import { icon } from './icons.js';

/** @import {RosterEntry} from '../sdk/protocol.js' */
/** @import {RosterState} from '../sdk/roster.js' */

/**
 * @param {RosterState} roster
 * @param {string} self The visitor's own participant name.
 */
export function showPeople(roster, self) {
  const raisedFirst = roster.participants.toSorted((a, b) => Number(b.hand_raised) - Number(a.hand_raised));
  byId('people-list').replaceChildren(...raisedFirst.map((entry) => personRow(entry, entry.participant === self)));
  const hidden = roster.total - roster.participants.length;
  byId('people-more').hidden = hidden <= 0;
  byId('people-more').textContent = t('people.more', { count: hidden });
  byId('plate-count').textContent = t('people.count', { count: roster.total });
}

/**
 * @param {RosterEntry} entry
 * @param {boolean} isSelf
 */
function personRow(entry, isSelf) {
  const role = t(`role.${entry.role}`);
  return el('li', {
    className: 'person',
    'data-testid': `person-${entry.participant}`,
    'data-hand': entry.hand_raised,
    'data-muted': entry.muted,
  },
  el('span', { className: 'person__seal', 'aria-hidden': true }, [...entry.display_name][0] ?? '·'),
  el('span', { className: 'person__name' },
    entry.display_name,
    el('span', { className: 'person__role' }, ` ${isSelf ? `${role} · ${t('people.you')}` : role}`)),
  el('span', { className: 'person__signs' },
    entry.muted ? sign('soundOff', t('people.muted'), '') : null,
    entry.hand_raised ? sign('hand', t('people.hand'), 'person__hand') : null));
}

/**
 * @param {string} name
 * @param {string} words
 * @param {string} className
 */
function sign(name, words, className) {
  return el('span', { className, role: 'img', 'aria-label': words, title: words }, icon(name));
}

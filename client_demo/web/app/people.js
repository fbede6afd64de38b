/** Who is here, and what a host may do about it. */

import { byId, el } from './dom.js';
import { t } from './i18n.js';
import { icon } from './icons.js';

/** @import {Mode, ParticipantChange, RosterEntry} from '../sdk/protocol.js' */
/** @import {RosterState} from '../sdk/roster.js' */

/**
 * @typedef {object} Moderator What a host's buttons do.
 * @property {Mode} mode
 * @property {(participant: string, change: ParticipantChange) => void} change
 * @property {(participant: string) => void} remove
 */

const ARMED_MS = 4000;
/** @type {string | null} Who is removed by one more press. */
let armed = null;

/**
 * @param {RosterState} roster
 * @param {string} self The visitor's own participant name.
 * @param {Moderator | null} moderator With it, every row but one's own has a host's buttons.
 */
export function showPeople(roster, self, moderator) {
  const list = byId('people-list');
  const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('data-testid') : null;
  const raisedFirst = roster.participants.toSorted((a, b) => Number(b.hand_raised) - Number(a.hand_raised));
  list.replaceChildren(...raisedFirst.map((entry) => {
    const isSelf = entry.participant === self;
    return personRow(entry, isSelf, isSelf || !moderator ? [] : hostButtons(entry, moderator));
  }));
  if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-testid="${CSS.escape(focused)}"]`))?.focus();
  const hidden = roster.total - roster.participants.length;
  byId('people-more').hidden = hidden <= 0;
  byId('people-more').textContent = t('people.more', { count: hidden });
  byId('plate-count').textContent = t('people.count', { count: roster.total });
}

/**
 * @param {RosterEntry} entry
 * @param {boolean} isSelf
 * @param {HTMLElement[]} buttons
 */
function personRow(entry, isSelf, buttons) {
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
    entry.muted ? sign('microphoneOff', t('people.muted'), '') : null,
    entry.hand_raised ? sign('hand', t('people.hand'), 'person__hand') : null),
  buttons.length ? el('span', { className: 'person__tools', role: 'group', 'aria-label': entry.display_name }, ...buttons) : null);
}

/**
 * @param {RosterEntry} entry
 * @param {Moderator} moderator
 */
function hostButtons(entry, { mode, change, remove }) {
  const { participant, role, muted } = entry;
  const floor = role === 'speaker'
    ? hostButton('floor', participant, t('people.takeFloor'), () => change(participant, { role: 'visitor' }))
    : hostButton('floor', participant, t('people.giveFloor'), () => change(participant, { role: 'speaker' }));
  const mute = hostButton('mute', participant, t(muted ? 'people.unmute' : 'people.mute'), () => change(participant, { muted: !muted }));
  const isArmed = armed === participant;
  const out = hostButton('remove', participant, t(isArmed ? 'people.removeSure' : 'people.remove'), () => {
    if (armed === participant) return remove(participant);
    return arm(participant, out);
  });
  out.classList.toggle('is-armed', isArmed);
  return mode === 'conference' && role !== 'host' ? [floor, mute, out] : [mute, out];
}

/**
 * Ask once more: a second press within a few seconds removes.
 *
 * @param {string} participant
 * @param {HTMLElement} button
 */
function arm(participant, button) {
  armed = participant;
  button.textContent = t('people.removeSure');
  button.classList.add('is-armed');
  setTimeout(() => {
    if (armed === participant) armed = null;
    button.textContent = t('people.remove');
    button.classList.remove('is-armed');
  }, ARMED_MS);
}

/**
 * @param {string} action
 * @param {string} participant
 * @param {string} words
 * @param {() => void} onclick
 */
function hostButton(action, participant, words, onclick) {
  return el('button', { type: 'button', className: 'person__tool', 'data-testid': `${action}-${participant}`, onclick }, words);
}

/**
 * @param {string} name
 * @param {string} words
 * @param {string} className
 */
function sign(name, words, className) {
  return el('span', { className, role: 'img', 'aria-label': words, title: words }, icon(name));
}

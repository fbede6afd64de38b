/** How to move, for the mode one is in. */

import { byId, el } from './dom.js';
import { t } from './i18n.js';

/** @import {Mode} from '../sdk/protocol.js' */
/** @import {WordKey} from './i18n.js' */

/** @type {Record<Mode, WordKey[]>} */
const LINES = {
  explore: ['help.explore.mouse', 'help.explore.keys', 'help.explore.touch', 'help.gamepad', 'help.keys'],
  gallery: ['help.gallery.mouse', 'help.gallery.keys', 'help.gallery.touch', 'help.gallery.rest', 'help.gamepad', 'help.keys'],
  conference: ['help.conference.watch', 'help.conference.host', 'help.keys'],
};

/** @param {Mode} mode */
export function showHelp(mode) {
  byId('help-lines').replaceChildren(...LINES[mode].map((word) => el('li', {}, t(word))));
}

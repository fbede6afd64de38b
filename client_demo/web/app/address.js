/** What the page's address asks for. A token leaves the address bar as soon as it has been read. */

import { IDENTIFIER } from '../sdk/protocol.js';

const DEFAULT_FPS = 30;

/**
 * @typedef {object} Address
 * @property {string} room Empty when absent or not a room's name.
 * @property {string | null} token
 * @property {string} name
 * @property {boolean} autojoin
 * @property {boolean} test
 * @property {number} maxFps Most frames a second to ask for.
 * @property {string | null} broker Another origin to join at, for development.
 */

/**
 * @param {string} href
 * @returns {Address}
 */
export function parseAddress(href) {
  const url = new URL(href);
  const query = url.searchParams;
  const fragment = new URLSearchParams(url.hash.slice(1));
  const room = query.get('room') ?? '';
  return {
    room: IDENTIFIER.test(room) ? room : '',
    token: fragment.get('token') ?? query.get('token'),
    name: (query.get('name') ?? '').slice(0, 48),
    autojoin: query.get('autojoin') === '1',
    test: query.get('test') === '1',
    maxFps: Math.min(120, Math.max(1, Math.round(Number(query.get('fps')) || DEFAULT_FPS))),
    broker: query.get('broker'),
  };
}

/**
 * The address without secrets: neither screen sharing nor the history shows them.
 *
 * @param {string} href
 */
export function withoutSecrets(href) {
  const url = new URL(href);
  url.searchParams.delete('token');
  url.searchParams.delete('key');
  url.hash = '';
  return url.href;
}

/** Read the page's address and clean it. */
export function takeAddress() {
  const address = parseAddress(location.href);
  history.replaceState(null, '', withoutSecrets(location.href));
  return address;
}

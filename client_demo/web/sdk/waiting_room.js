/** Waiting with a ticket: before the door of a room until a host lets one in, or for a place where all is full. */

import { FarstageError, requestJson } from './problems.js';
import { classify, delay } from './reconnect.js';

/** @import {JoinGrant, JoinRequest, WaitingTicket} from './protocol.js' */

const POLL_S = 8;
/** Below the time after which a request counts as unanswered; the position is seen anew as often. */
const RETRY_MS = 2_000;
const MAX_FAILURES = 15;

/** @type {Record<string, string>} */
const ENDS = {
  refused: 'The host did not let you in',
  expired: 'The wait took too long',
  left: 'The wait was given up',
  room_closed: 'The room was closed',
  joined: 'The ticket was used elsewhere',
};

/**
 * Whether the broker's answer to a join is a ticket, not a grant.
 *
 * @param {JoinGrant | WaitingTicket} answer
 * @returns {answer is WaitingTicket}
 */
export function isTicket(answer) {
  return 'poll_url' in answer;
}

/**
 * Wait until let in, then come in. Whoever aborts gives the ticket back.
 *
 * @param {string} broker
 * @param {WaitingTicket} ticket As the join answered it, with its token.
 * @param {JoinRequest} body The join's.
 * @param {(ticket: WaitingTicket) => void} onNews Told where the ticket stands, whenever it is heard.
 * @param {AbortSignal} [signal]
 * @returns {Promise<JoinGrant>}
 * @throws {FarstageError} when the wait ended otherwise.
 */
export async function waitForEntry(broker, ticket, body, onNews, signal) {
  const url = new URL(ticket.poll_url, `${broker}/`).href;
  const token = ticket.token ?? null;
  try {
    for (let now = ticket; ;) {
      while (now.state === 'waiting') {
        onNews(now);
        now = await poll(`${url}?wait_s=${POLL_S}`, token, signal);
      }
      if (now.state !== 'admitted') throw notAdmitted(now.state);
      const answer = await requestJson(`${url}/join`, { method: 'POST', token, body, signal });
      if (!isTicket(answer)) return answer;
      now = answer;
    }
  } catch (error) {
    if (signal?.aborted) void requestJson(url, { method: 'DELETE', token }).catch(() => {});
    throw error;
  }
}

/**
 * Where the ticket stands. A line that breaks for a moment does not cost the place.
 *
 * @param {string} url
 * @param {string | null} token
 * @param {AbortSignal} [signal]
 * @returns {Promise<WaitingTicket>}
 */
async function poll(url, token, signal) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await requestJson(url, { token, signal });
    } catch (error) {
      const passes = error instanceof FarstageError && classify(error) !== 'final' && failures < MAX_FAILURES;
      if (!passes) throw error;
      await delay(RETRY_MS, signal);
    }
  }
}

/** @param {string} state */
function notAdmitted(state) {
  const slug = `waiting-${state.replace('_', '-')}`;
  return new FarstageError({ type: `urn:farstage:problem:${slug}`, title: ENDS[state] ?? state, status: 410 });
}

/**
 * When to try again, how soon, and when to stop: pure decisions, the time and randomness are arguments.
 *
 * Two situations: *admission* (the room or the farm is full: the broker says when to come back) and *reconnection*
 * (the line to the edge broke: exponential back-off, bounded in all).
 */

/** @import {FarstageError} from './problems.js' */

/** @typedef {{retryInMs: number} | {giveUp: true}} Step What to do next. */

export const RECONNECT_BUDGET_MS = 60_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 8_000;
const JITTER = 0.2;

export const MAX_ADMISSION_TRIES = 20;
const DEFAULT_ADMISSION_DELAY_MS = 5_000;
const LONGEST_ADMISSION_DELAY_MS = 60_000;
const MAX_UNREACHABLE_TRIES = 3;

/**
 * Delay before try number `attempt` (0 first): 0.5, 1, 2, 4, 8, 8 … seconds, each up to a fifth shorter or longer so
 * that a thousand clients of one lost edge do not come back together.
 *
 * @param {number} attempt
 * @param {() => number} random In [0, 1).
 */
export function backoffMs(attempt, random) {
  const plain = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return Math.round(plain * (1 - JITTER + 2 * JITTER * random()));
}

/**
 * What a refusal means to a client.
 *
 * @param {FarstageError} error
 * @returns {'full' | 'transient' | 'final'} `full`: wait for a place; `transient`: worth a few tries; `final`: never.
 */
export function classify(error) {
  const { status, retry_after_s: retryAfterS } = error.problem;
  if (status === 503 || status === 429 || (status === 409 && retryAfterS !== undefined)) return 'full';
  return status === 0 || status === 502 || status === 504 || status === 500 ? 'transient' : 'final';
}

/**
 * Next step after the broker refused a join; `attempt` counts tries made so far.
 *
 * @param {FarstageError} error
 * @param {number} attempt
 * @param {() => number} random
 * @returns {Step}
 */
export function admissionStep(error, attempt, random) {
  const kind = classify(error);
  if (kind === 'final') return { giveUp: true };
  if (kind === 'transient') return attempt < MAX_UNREACHABLE_TRIES ? { retryInMs: backoffMs(attempt, random) } : { giveUp: true };
  if (attempt >= MAX_ADMISSION_TRIES) return { giveUp: true };
  const askedMs = (error.problem.retry_after_s ?? DEFAULT_ADMISSION_DELAY_MS / 1000) * 1000;
  const boundedMs = Math.min(LONGEST_ADMISSION_DELAY_MS, Math.max(1000, askedMs));
  return { retryInMs: Math.round(boundedMs * (1 + JITTER * random())) };
}

/**
 * Next step after the line broke (`error` null) or a resumption was refused.
 *
 * @param {FarstageError | null} error
 * @param {number} attempt Tries made since the line broke.
 * @param {number} elapsedMs Since the line broke.
 * @param {() => number} random
 * @returns {Step}
 */
export function reconnectStep(error, attempt, elapsedMs, random) {
  if (error && classify(error) === 'final') return { giveUp: true };
  const askedMs = (error?.problem.retry_after_s ?? 0) * 1000;
  const retryInMs = Math.max(askedMs, backoffMs(attempt, random));
  return elapsedMs + retryInMs <= RECONNECT_BUDGET_MS ? { retryInMs } : { giveUp: true };
}

/**
 * Wait, unless `signal` aborts first (then it rejects with the signal's reason).
 *
 * @param {number} delayMs
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function delay(delayMs, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(finish, delayMs);
    function finish() {
      signal?.removeEventListener('abort', abort);
      resolve();
    }
    function abort() {
      clearTimeout(timer);
      reject(signal?.reason);
    }
    return signal?.addEventListener('abort', abort, { once: true });
  });
}

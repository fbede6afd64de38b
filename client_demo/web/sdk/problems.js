/** HTTP with problem documents (RFC 9457): every failure becomes one `FarstageError`. */

/** @import {Problem} from './protocol.js' */

const REQUEST_TIMEOUT_MS = 10_000;

/** A refusal by the broker or an edge, or no answer at all (`problem.status` 0). */
export class FarstageError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail ? `${problem.title}: ${problem.detail}` : problem.title);
    this.name = 'FarstageError';
    this.problem = problem;
  }

  /** The last part of the problem's `type`, which programs may switch on. */
  get slug() {
    return this.problem.type.split(/[:/]/).pop() ?? '';
  }
}

/**
 * Fetch with a deadline. Resolves with a 2xx answer.
 *
 * @param {string} url
 * @param {RequestInit & {timeoutMs?: number}} [options]
 * @returns {Promise<Response>}
 * @throws {FarstageError} for any other status, and when nothing answers in time.
 */
export async function request(url, { timeoutMs = REQUEST_TIMEOUT_MS, signal, ...init } = {}) {
  const deadline = AbortSignal.timeout(timeoutMs);
  let response;
  try {
    response = await fetch(url, { ...init, signal: signal ? AbortSignal.any([signal, deadline]) : deadline });
  } catch (error) {
    signal?.throwIfAborted();
    throw new FarstageError({ type: 'urn:farstage:problem:unreachable', title: 'No answer', status: 0, detail: String(error) });
  }
  if (!response.ok) throw new FarstageError(await readProblem(response));
  return response;
}

/**
 * Fetch JSON; `body` is sent as JSON, `token` as a bearer.
 *
 * @param {string} url
 * @param {{method?: string, token?: string | null, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} The parsed answer; `null` when it has no body.
 * @throws {FarstageError}
 */
export async function requestJson(url, { method = 'GET', token, body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const response = await request(url, { method, headers, body: body === undefined ? null : JSON.stringify(body), signal });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * @param {Response} response
 * @returns {Promise<Problem>}
 */
async function readProblem(response) {
  const retryAfterS = parseRetryAfter(response.headers.get('Retry-After'), Date.now());
  let stated = {};
  if (response.headers.get('Content-Type')?.includes('json')) {
    stated = await response.json().catch(() => ({}));
  }
  const problem = { type: 'about:blank', title: response.statusText || 'Refused', status: response.status, ...stated };
  return retryAfterS === undefined ? problem : { retry_after_s: retryAfterS, ...problem };
}

/**
 * Seconds from a `Retry-After` header (RFC 9110, 10.2.3): delay seconds or an HTTP date.
 *
 * @param {string | null} header
 * @param {number} nowMs Unix milliseconds.
 * @returns {number | undefined}
 */
export function parseRetryAfter(header, nowMs) {
  if (!header) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const dateMs = Date.parse(header);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, (dateMs - nowMs) / 1000);
}

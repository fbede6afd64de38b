/**
 * The Farstage browser SDK: join a room, show its picture, send the visitor's hands. See `README.md` for an example.
 *
 *     const session = await join({ room: 'demo', displayName: 'Ada', viewport: { width: 1280, height: 720 } });
 *     video.srcObject = session.video;
 *     session.watch(video);
 *     session.input.setMove(0, 1);
 */

import { videoCapabilities } from './codecs.js';
import { probeEdges } from './probe.js';
import { FarstageError, requestJson } from './problems.js';
import { admissionStep, classify, delay } from './reconnect.js';
import { Session } from './session.js';
import { isTicket, waitForEntry } from './waiting_room.js';

/** @import {JoinGrant, JoinRequest, Problem, Viewport} from './protocol.js' */

export { FarstageError, Session };

/**
 * @typedef {object} Progress What happens before there is a session.
 * @property {'probing' | 'joining' | 'waiting'} phase
 * @property {number} [retryAtMs] `waiting`: when the next try is made, on the clock of `performance.now()`.
 * @property {number} [attempt] `waiting`: tries made so far.
 * @property {'full' | 'transient' | 'door' | 'queue'} [cause] `waiting`: no place free, no answer, a host is to open the
 *   door, or one's turn has not come.
 * @property {number | null} [position] `waiting` at the door or in a queue: the place in it, 1 is next.
 * @property {number | null} [estimatedWaitS] `waiting` in a queue: until it is one's turn, where that can be told.
 * @property {Problem} [problem] `waiting`: what the broker said.
 */

/**
 * @typedef {object} JoinOptions
 * @property {string} room
 * @property {string} displayName
 * @property {Viewport} viewport The picture area in device pixels.
 * @property {string} [broker] Origin of the broker; the page's own by default.
 * @property {string | null} [token] Join token; without one the room must be open.
 * @property {(progress: Progress) => void} [onProgress]
 * @property {AbortSignal} [signal] Stops joining (and waiting for a place).
 */

/**
 * Probe the edges, ask the broker for a place and connect to the edge it chose. Where a room or the farm is full one
 * waits for one's turn, before a waiting room for the host.
 *
 * @param {JoinOptions} options
 * @returns {Promise<Session>} A session in state `connecting`; it tells its further states by `state` events.
 * @throws {FarstageError} when the broker or the edge refuses for good.
 */
export async function join(options) {
  const broker = (options.broker ?? location.origin).replace(/\/$/, '');
  const grant = await admission(broker, options);
  const session = new Session(broker, grant, follower(broker, options.viewport));
  try {
    await session.connect(options.signal);
  } catch (error) {
    session.abandon();
    throw error;
  }
  return session;
}

/**
 * Go on with a session of an earlier page, whose grant was kept: a reload costs nobody their place. The broker holds a
 * place for half a minute after its connection broke.
 *
 * @param {JoinGrant} grant
 * @param {{broker?: string, viewport?: Viewport, signal?: AbortSignal}} [options]
 * @returns {Promise<Session>}
 * @throws {FarstageError} when the session is over.
 */
export async function resume(grant, { broker = location.origin, viewport, signal } = {}) {
  const origin = broker.replace(/\/$/, '');
  const url = `${origin}/v1/sessions/${encodeURIComponent(grant.session)}/resume`;
  const granted = await requestJson(url, { method: 'POST', token: grant.session_token, signal });
  const session = new Session(origin, granted, follower(origin, viewport ?? { width: granted.width, height: granted.height }));
  try {
    await session.connect(signal);
    if (viewport) await session.resize(viewport);
  } catch (error) {
    session.abandon();
    throw error;
  }
  return session;
}

/**
 * How a session goes to another room: it joins there, and then holds on to that place as any session does.
 *
 * @param {string} broker
 * @param {Viewport} viewport
 * @returns {import('./session.js').Follow}
 */
function follower(broker, viewport) {
  return async function follow(to) {
    const grant = await admission(broker, { ...to, viewport, waitsWhenFull: false });
    const session = new Session(broker, grant, follow);
    await session.connectPatiently();
    return session;
  };
}

/**
 * @param {string} broker
 * @param {JoinOptions & {waitsWhenFull?: boolean}} options
 * @returns {Promise<JoinGrant>}
 */
async function admission(broker, options) {
  const { signal, onProgress } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await askForPlace(broker, options);
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
      const step = admissionStep(error, attempt, Math.random);
      const cause = classify(error);
      if ('giveUp' in step || cause === 'final') throw error;
      onProgress?.({ phase: 'waiting', retryAtMs: performance.now() + step.retryInMs, attempt, cause, problem: error.problem });
      await delay(step.retryInMs, signal);
    }
  }
}

/**
 * @param {string} broker
 * @param {JoinOptions & {waitsWhenFull?: boolean}} options
 * @returns {Promise<JoinGrant>}
 */
async function askForPlace(broker, { room, token, displayName, viewport, onProgress, signal, waitsWhenFull = true }) {
  onProgress?.({ phase: 'probing' });
  const probes = await probeEdges(broker, signal);
  onProgress?.({ phase: 'joining' });
  const codecs = videoCapabilities(RTCRtpReceiver.getCapabilities('video')?.codecs ?? []);
  /** @type {JoinRequest} */
  const body = { display_name: displayName, probes, codecs, viewport, wait_when_full: waitsWhenFull };
  const answer = await requestJson(`${broker}/v1/rooms/${encodeURIComponent(room)}/join`, { method: 'POST', token, body, signal });
  if (!isTicket(answer)) return answer;
  return waitForEntry(broker, answer, body, (ticket) => onProgress?.({
    phase: 'waiting',
    cause: ticket.waits_for === 'host' ? 'door' : 'queue',
    position: ticket.position,
    estimatedWaitS: ticket.estimated_wait_s,
  }), signal);
}

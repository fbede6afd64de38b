/** One participant's live service: the connection, its repair, the messages both ways, the figures. */

import { Emitter } from './emitter.js';
import { Host } from './host.js';
import { InputController, LIMITS } from './input.js';
import { PictureClock } from './picture_clock.js';
import { FarstageError, requestJson } from './problems.js';
import { MAX_CHAT_CHARACTERS } from './protocol.js';
import { delay, reconnectStep } from './reconnect.js';
import { EMPTY_ROSTER, applyRosterEvent, mayBeHeard } from './roster.js';
import { SilenceWatch } from './silence.js';
import { clientReport, difference, received, snapshot } from './statistics.js';
import { openViewer } from './whep.js';

/** @import {ChatLine, ClientEvent, ControlMessage, EndReason, JoinGrant, MoveTo, Problem, Refused, RoomData, Viewport} from './protocol.js' */
/** @import {Reading} from './barcode.js' */
/** @import {RosterState} from './roster.js' */
/** @import {Snapshot, Statistics} from './statistics.js' */
/** @import {WhepViewer} from './whep.js' */

const STATISTICS_INTERVAL_MS = 1000;
const DISCONNECTED_PATIENCE_MS = 3000;
/** Beyond it an edge that is asked for another way counts as gone. */
const RESTART_PATIENCE_MS = 1500;
const CONNECT_DEADLINE_MS = 12_000;
/** @type {Problem} */
const TOO_LATE = { type: 'urn:farstage:problem:moved-too-late', title: 'The place was not kept any longer', status: 408 };

/**
 * @typedef {object} StateDetail
 * @property {'connecting' | 'live' | 'replacing' | 'reconnecting' | 'ended'} state
 * @property {number} [attempt] `reconnecting`: tries made so far.
 * @property {number} [retryAtMs] `reconnecting`: when the next try is made, on the clock of `performance.now()`.
 */
/** @typedef {{reason: EndReason | 'refused', problem?: Problem}} EndDetail `refused`: a resumption was refused. */
/** @typedef {{topic: string, value: unknown, sender: string | null}} Data `value`: JSON, or a `Uint8Array`. */
/** @typedef {(to: {room: string, token: string, displayName: string, signal: AbortSignal}) => Promise<Session>} Follow */
/**
 * @typedef {object} SessionEvents
 * @property {StateDetail} state
 * @property {RosterState} roster
 * @property {ChatLine} chat
 * @property {Statistics} stats Once a second.
 * @property {Data} data Sent to the room by a host (`sender`) or an operator.
 * @property {{waiting: number}} waiting To hosts: how many wait to be let in.
 * @property {{inS: number}} closing The room closes in so many seconds, as its schedule says.
 * @property {{session: Session}} moved This session is over and goes on in another room as that one.
 * @property {{problem: Problem}} notMoved An operator wanted to move one to another room, which could not be.
 * @property {EndDetail} ended Once.
 * @property {{state: 'connecting' | 'live' | 'replacing' | 'ended'}} source Whether the renderer sends pictures.
 * @property {Refused} refused A message was not carried out.
 */

/** @extends {Emitter<SessionEvents>} */
export class Session extends Emitter {
  /**
   * Made by `join`.
   *
   * @param {string} broker
   * @param {JoinGrant} grant
   * @param {Follow} follow
   */
  constructor(broker, grant, follow) {
    super();
    /** What the broker granted last. */
    this.grant = grant;
    /** Receives the room's picture and sound. */
    this.video = new MediaStream();
    /** @type {StateDetail['state']} */
    this.state = 'connecting';
    /** @type {RosterState} */
    this.roster = EMPTY_ROSTER;
    /** @type {Statistics | null} */
    this.statistics = null;
    /** The visitor's hands. */
    this.input = new InputController(LIMITS[grant.mode], (message, nowMs) => {
      if (this._viewer?.input.readyState !== 'open') return;
      this._viewer.input.send(JSON.stringify(message));
      this._clock?.inputSent(message.seq, nowMs);
    });
    this._broker = broker;
    this._follow = follow;
    /** On the way to another room. */
    this._moving = false;
    /** Placed in another room, so that there is no staying here. */
    this._left = false;
    /** @type {WhepViewer | null} */
    this._viewer = null;
    /** @type {PictureClock | null} */
    this._clock = null;
    /** @type {Snapshot | null} */
    this._before = null;
    this._silence = new SilenceWatch();
    this._pings = 0;
    /** @type {MediaStreamTrack | null} */
    this._microphone = null;
    this._life = new AbortController();
    /** What hosts may do. */
    this.host = new Host(broker, () => this.grant, this._life.signal);
    this._statisticsTimer = setInterval(() => this._measure(), STATISTICS_INTERVAL_MS);
    this._repairing = false;
    addEventListener('online', () => this._lookForAnotherWay(this._viewer), { signal: this._life.signal });
  }

  /** Who one is in the room. */
  get participant() {
    return this.grant.participant;
  }

  /** One's own entry of the roster, `null` before it is known. */
  get self() {
    return this.roster.participants.find((entry) => entry.participant === this.participant) ?? null;
  }

  /** One's role now; a host or operator may have changed it since joining. */
  get role() {
    return this.self?.role ?? this.grant.role;
  }

  /** Whether one has been muted. */
  get muted() {
    return this.self?.muted ?? false;
  }

  /** Whether the others would hear one's microphone. */
  get heard() {
    return !this.muted && mayBeHeard(this.role, this.grant.mode);
  }

  /**
   * Connect to the granted edge. `join` does it.
   *
   * @param {AbortSignal} [signal]
   */
  async connect(signal) {
    const either = signal ? AbortSignal.any([signal, this._life.signal]) : this._life.signal;
    const viewer = await openViewer(this.grant, this.video, (opening) => this._attach(opening), either);
    await this._speakThrough(viewer);
  }

  /** Connect, and go on trying within the bounds of a repair: the place is held. */
  async connectPatiently() {
    await this.connect().catch(() => void this._repair());
  }

  /**
   * Name the element that shows the picture, so that frames and delays can be measured in it.
   *
   * @param {HTMLVideoElement} video
   * @param {{everyFrame?: boolean, onFrame?: (reading: Reading | null, nowMs: number) => void,
   *   onDelay?: (delayMs: number) => void}} [options] `everyFrame`: read each barcode (test mode).
   */
  watch(video, options) {
    this._clock?.stop();
    this._clock = new PictureClock(video, options);
  }

  /** Share of the picture's height its barcode takes; 0 without one. */
  get codeShare() {
    return this._clock?.codeShare ?? 0;
  }

  /** Leave the room. The edge is told; safe to call twice. */
  async leave() {
    const closing = this._viewer?.close();
    this._end({ reason: 'left' });
    await closing;
  }

  /** Free everything without telling anybody: the session may be resumed, by this page or the next. */
  abandon() {
    this._stop();
  }

  /**
   * Ask for a picture of another shape: the phone was turned, the window resized. A conference's stage stays as it is.
   *
   * @param {Viewport} viewport
   * @throws {FarstageError}
   */
  async resize(viewport) {
    const { session, session_token: token } = this.grant;
    const url = `${this._broker}/v1/sessions/${encodeURIComponent(session)}`;
    await requestJson(url, { method: 'PATCH', token, body: { viewport }, signal: this._life.signal });
  }

  /** @param {boolean} raised */
  raiseHand(raised) {
    return this._send({ type: 'raise_hand', raised });
  }

  /** @param {string} exhibit Gallery: one of the roster's exhibits. */
  selectExhibit(exhibit) {
    return this._send({ type: 'select_exhibit', exhibit });
  }

  /** @param {string} camera Conference, hosts only: one of the roster's stage cameras. */
  stageCamera(camera) {
    return this._send({ type: 'stage_camera', camera });
  }

  /**
   * @param {string} text Cut after 280 characters.
   * @returns {boolean} Whether it could be sent.
   */
  chat(text) {
    const line = text.trim().slice(0, MAX_CHAT_CHARACTERS);
    return line !== '' && this._send({ type: 'chat', text: line });
  }

  /**
   * Let the others hear this microphone track; `null` falls silent. It survives reconnection.
   *
   * @param {MediaStreamTrack | null} track
   */
  async setMicrophone(track) {
    this._microphone = track;
    if (this._viewer) await this._speakThrough(this._viewer);
  }

  /** @param {WhepViewer} viewer */
  async _speakThrough(viewer) {
    if (!viewer.closed) await viewer.audio.sender.replaceTrack(this._microphone);
  }

  /**
   * @param {ControlMessage} message
   * @returns {boolean} Whether it could be sent.
   */
  _send(message) {
    if (this._viewer?.control.readyState !== 'open') return false;
    this._viewer.control.send(JSON.stringify(message));
    return true;
  }

  /** @param {WhepViewer} viewer */
  _attach(viewer) {
    this._viewer = viewer;
    this._before = null;
    this._silence = new SilenceWatch();
    viewer.control.addEventListener('message', ({ data }) => this._receive(data));
    viewer.connection.addEventListener('connectionstatechange', () => this._connectionChanged(viewer));
    setTimeout(() => this._repairUnlessConnected(viewer), CONNECT_DEADLINE_MS);
  }

  /** @param {WhepViewer} viewer */
  _connectionChanged(viewer) {
    const { connectionState } = viewer.connection;
    if (viewer !== this._viewer) return;
    if (connectionState === 'connected') this._enter({ state: 'live' });
    else if (connectionState === 'failed') void this._repair();
    else if (connectionState === 'disconnected') {
      void this._lookForAnotherWay(viewer);
      setTimeout(() => this._repairUnlessConnected(viewer), DISCONNECTED_PATIENCE_MS);
    }
  }

  /**
   * The network has changed or the line is silent: restart ICE. What comes of it shows in the connection's state, and
   * in what arrives; an edge that does not even answer this is gone.
   *
   * @param {WhepViewer | null} viewer
   */
  async _lookForAnotherWay(viewer) {
    if (!viewer) return;
    const signal = AbortSignal.any([AbortSignal.timeout(RESTART_PATIENCE_MS), this._life.signal]);
    await viewer.restartIce(signal).catch(() => this._repairUnlessConnected(viewer));
  }

  /** @param {WhepViewer} viewer */
  _repairUnlessConnected(viewer) {
    if (viewer === this._viewer && !viewer.closed && !this._isConnected(viewer)) void this._repair();
  }

  /**
   * Whether the connection stands and the edge answers.
   *
   * @param {WhepViewer} viewer
   */
  _isConnected(viewer) {
    return viewer.connection.connectionState === 'connected' && !this._silence.isOverdue(performance.now());
  }

  /**
   * Do what the silence of the edge asks for.
   *
   * @param {WhepViewer} viewer
   * @param {number} bytes That have come in all.
   */
  _listen(viewer, bytes) {
    const verdict = this._silence.judge(bytes, performance.now());
    if (verdict === 'ask') this._send({ type: 'ping', id: this._pings += 1 });
    else if (verdict === 'broken') void this._lookForAnotherWay(viewer);
    else if (verdict === 'lost') void this._repair();
  }

  /** Resume the session, on another edge if the broker says so, within a bounded time. */
  async _repair() {
    if (this._repairing || this._moving || this.state === 'ended') return;
    this._repairing = true;
    const brokeAtMs = performance.now();
    /** @type {FarstageError | null} */
    let refusal = null;
    for (let attempt = 0; ; attempt += 1) {
      const step = reconnectStep(refusal, attempt, performance.now() - brokeAtMs, Math.random);
      if ('giveUp' in step) break;
      this._enter({ state: 'reconnecting', attempt, retryAtMs: performance.now() + step.retryInMs });
      try {
        await delay(step.retryInMs, this._life.signal);
        if (!this._healed()) await this._resume();
        this._repairing = false;
        return;
      } catch (error) {
        if (this._life.signal.aborted) return;
        refusal = error instanceof FarstageError ? error : null;
      }
    }
    this._end(refusal ? { reason: 'refused', problem: refusal.problem } : { reason: 'connection_lost' });
  }

  /** Whether the connection has come back by itself meanwhile, as after a short outage. */
  _healed() {
    if (!this._viewer || !this._isConnected(this._viewer)) return false;
    this._enter({ state: 'live' });
    return true;
  }

  /** Connect anew; the old connection's last picture stays until the new one has a track to show. */
  async _resume() {
    const { session, session_token: token } = this.grant;
    const url = `${this._broker}/v1/sessions/${encodeURIComponent(session)}/resume`;
    this.grant = await requestJson(url, { method: 'POST', token, signal: this._life.signal });
    const old = this._viewer;
    try {
      await this.connect();
    } finally {
      old?.connection.close();
    }
  }

  /** @param {string} data */
  _receive(data) {
    /** @type {ClientEvent} */
    const event = JSON.parse(data);
    this._silence.hear(performance.now());
    if (event.type === 'roster' || event.type === 'roster_joined' || event.type === 'roster_left'
      || event.type === 'roster_total' || event.type === 'stage_camera_changed') {
      this.roster = applyRosterEvent(this.roster, event);
      this.emit('roster', this.roster);
    } else if (event.type === 'chat_line') this.emit('chat', event);
    else if (event.type === 'refused') this.emit('refused', event);
    else if (event.type === 'room_data') this._receiveData(event);
    else if (event.type === 'waiting_changed') this.emit('waiting', { waiting: event.waiting });
    else if (event.type === 'room_closing') this.emit('closing', { inS: event.in_s });
    else if (event.type === 'move_to') void this._move(event);
    else if (event.type === 'ended' && event.reason === 'moved' && this._moving) this._left = true;
    else if (event.type === 'ended') this._end({ reason: event.reason });
    else if (event.type === 'source_state') this._sourceChanged(event.state);
  }

  /** @param {RoomData} event */
  _receiveData({ topic, value, binary, sender }) {
    const received = binary === undefined ? value : Uint8Array.from(atob(binary), (letter) => letter.charCodeAt(0));
    this.emit('data', { topic, value: received, sender });
  }

  /**
   * Go to another room, where a place is kept. This session goes on until that one is placed, and for good if it is not.
   *
   * @param {MoveTo} move
   */
  async _move({ room, token, within_s: withinS }) {
    if (this._moving || this.state === 'ended') return;
    this._moving = true;
    const signal = AbortSignal.any([this._life.signal, AbortSignal.timeout(withinS * 1000)]);
    try {
      const session = await this._follow({ room, token, displayName: this.grant.display_name, signal });
      await session.setMicrophone(this._microphone);
      this.emit('moved', { session });
      this._end({ reason: 'moved' });
    } catch (error) {
      this._stay(error instanceof FarstageError ? error.problem : TOO_LATE);
    }
  }

  /** @param {Problem} problem Why one could not go to another room. */
  _stay(problem) {
    this._moving = false;
    if (this.state === 'ended') return;
    if (this._left) return this._end({ reason: 'refused', problem });
    this.emit('notMoved', { problem });
    if (this._viewer) this._repairUnlessConnected(this._viewer);
  }

  /** @param {'connecting' | 'live' | 'replacing' | 'ended'} state */
  _sourceChanged(state) {
    this.emit('source', { state });
    if (this._repairing) return;
    if (state === 'replacing') this._enter({ state: 'replacing' });
    else if (state === 'live' && this.state === 'replacing') this._enter({ state: 'live' });
  }

  async _measure() {
    const viewer = this._viewer;
    if (!viewer || viewer.connection.connectionState !== 'connected') return;
    const report = await viewer.connection.getStats();
    if (viewer === this._viewer) this._listen(viewer, received(report.values()));
    const after = snapshot(report.values(), performance.now());
    if (after && this._before) {
      this.statistics = difference(this._before, after, this._clock?.takeMedianMs() ?? null);
      this._send(clientReport(this.statistics));
      this.emit('stats', this.statistics);
    }
    this._before = after;
  }

  /** @param {StateDetail} detail */
  _enter(detail) {
    if (this.state === 'ended') return;
    this.state = detail.state;
    this.emit('state', detail);
  }

  /** @param {EndDetail} detail */
  _end(detail) {
    if (this.state === 'ended') return;
    this._enter({ state: 'ended' });
    this._stop();
    this.emit('ended', detail);
  }

  _stop() {
    this._life.abort(new DOMException('the session is over', 'AbortError'));
    clearInterval(this._statisticsTimer);
    this.input.stop();
    this._clock?.stop();
    this._viewer?.connection.close();
  }
}

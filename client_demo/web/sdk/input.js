/**
 * The visitor's hands as a state machine. Devices set states; the machine decides when a message is due.
 *
 * A change is sent at once (at most 60 times a second), then repeated three times; while something is held the state
 * goes out every 100 ms; at rest nothing is sent. Everything is a state or a running total, so a lost message costs
 * nothing and a repeated one is harmless.
 */

/** @import {Input, Mode} from './protocol.js' */

const SAMPLE_INTERVAL_MS = 1000 / 60;
const HELD_INTERVAL_MS = 100;
const REPEATS = 3;
const REPEAT_INTERVAL_MS = 40;
/** Sampling may come this much early, since timers are not exact. */
const SLACK_MS = 2;

/** @typedef {{yaw: number, pitch: number, zoom: number}} TurnRate Radians (zoom: units) a second. */
/** @typedef {{pitch: [number, number], zoom: [number, number]}} Limits */

/** @type {Record<Mode, Limits>} Beyond these the world would clamp, and turning back would seem stuck. */
export const LIMITS = {
  explore: { pitch: [-1.4, 1.4], zoom: [0, 0] },
  gallery: { pitch: [-1.13, 0.37], zoom: [-1.08, 0.85] },
  conference: { pitch: [-1.4, 1.4], zoom: [0, 0] },
};

/** Pure: given times, it returns messages. Sources (`keys`, `joystick`, `gamepad` …) add up. */
export class InputMachine {
  /** @param {Limits} limits */
  constructor(limits) {
    this.limits = limits;
    /** @type {Map<string, [number, number]>} */
    this._moves = new Map();
    /** @type {Map<string, TurnRate>} */
    this._turns = new Map();
    this._yaw = 0;
    this._pitch = 0;
    this._zoom = 0;
    this._run = false;
    this._seq = 0;
    this._sent = this._state();
    this._sentAtMs = -Infinity;
    this._sampledAtMs = -Infinity;
    this._repeatsLeft = 0;
  }

  /** Number of the last message. */
  get seq() {
    return this._seq;
  }

  /**
   * Walk: `x` to the right, `z` forward, each in [-1, 1].
   *
   * @param {number} x
   * @param {number} z
   * @param {string} [source]
   */
  setMove(x, z, source = 'api') {
    if (x === 0 && z === 0) this._moves.delete(source);
    else this._moves.set(source, [x, z]);
  }

  /**
   * Turn once by this much (mouse, drag); positive yaw to the left, positive pitch up.
   *
   * @param {number} yaw
   * @param {number} pitch
   */
  look(yaw, pitch) {
    this._yaw += yaw;
    this._pitch = clamp(this._pitch + pitch, this.limits.pitch);
  }

  /** @param {number} amount Positive comes nearer; the distance shrinks by `exp(-amount)`. */
  zoom(amount) {
    this._zoom = clamp(this._zoom + amount, this.limits.zoom);
  }

  /**
   * Keep turning (arrow keys, a stick) until set to zero.
   *
   * @param {TurnRate} rate
   * @param {string} [source]
   */
  setTurn(rate, source = 'api') {
    if (rate.yaw === 0 && rate.pitch === 0 && rate.zoom === 0) this._turns.delete(source);
    else this._turns.set(source, rate);
  }

  /** @param {boolean} running */
  run(running) {
    this._run = running;
  }

  /** Let go of everything held (the window lost its focus). */
  release() {
    this._moves.clear();
    this._turns.clear();
    this._run = false;
  }

  /**
   * The message due at `nowMs`, if any.
   *
   * @param {number} nowMs
   * @returns {Input | null}
   */
  sample(nowMs) {
    this._turnUntil(nowMs);
    if (nowMs - this._sentAtMs < SAMPLE_INTERVAL_MS - SLACK_MS) return null;
    const state = this._state();
    const changed = !sameState(state, this._sent);
    if (!changed && !this._repetitionDue(state, nowMs)) return null;
    this._repeatsLeft = changed ? REPEATS : Math.max(0, this._repeatsLeft - 1);
    this._sent = state;
    this._sentAtMs = nowMs;
    this._seq = (this._seq + 1) % 2 ** 32;
    return { type: 'input', seq: this._seq, ...state };
  }

  /**
   * @param {HandState} state
   * @param {number} nowMs
   */
  _repetitionDue(state, nowMs) {
    const sinceMs = nowMs - this._sentAtMs + SLACK_MS;
    if (this._repeatsLeft > 0) return sinceMs >= REPEAT_INTERVAL_MS;
    return (state.move_x !== 0 || state.move_z !== 0) && sinceMs >= HELD_INTERVAL_MS;
  }

  /** @param {number} nowMs */
  _turnUntil(nowMs) {
    const elapsedS = Math.min(0.1, Math.max(0, nowMs - this._sampledAtMs) / 1000);
    this._sampledAtMs = nowMs;
    for (const rate of this._turns.values()) {
      this.look(rate.yaw * elapsedS, rate.pitch * elapsedS);
      this.zoom(rate.zoom * elapsedS);
    }
  }

  /** @returns {HandState} */
  _state() {
    let [x, z] = [0, 0];
    for (const [sourceX, sourceZ] of this._moves.values()) [x, z] = [x + sourceX, z + sourceZ];
    const excess = Math.max(1, Math.hypot(x, z));
    return {
      move_x: round(x / excess),
      move_z: round(z / excess),
      yaw: round(this._yaw),
      pitch: round(this._pitch),
      zoom: round(this._zoom),
      run: this._run,
    };
  }
}

/** @typedef {Omit<Input, 'type' | 'seq'>} HandState */

/**
 * Drives an `InputMachine` in real time and hands its messages to `send`.
 */
export class InputController extends InputMachine {
  /**
   * @param {Limits} limits
   * @param {(message: Input, nowMs: number) => void} send
   */
  constructor(limits, send) {
    super(limits);
    this._send = send;
    this._timer = setInterval(() => this.flush(), SAMPLE_INTERVAL_MS);
  }

  /** Send what is due now rather than at the next tick: devices call it after a change. */
  flush() {
    const nowMs = performance.now();
    const message = this.sample(nowMs);
    if (message) this._send(message, nowMs);
  }

  /** Stop sending. */
  stop() {
    clearInterval(this._timer);
  }
}

/**
 * @param {HandState} a
 * @param {HandState} b
 */
function sameState(a, b) {
  return a.move_x === b.move_x && a.move_z === b.move_z && a.yaw === b.yaw && a.pitch === b.pitch && a.zoom === b.zoom && a.run === b.run;
}

/**
 * @param {number} value
 * @param {[number, number]} range
 */
function clamp(value, [low, high]) {
  return Math.min(high, Math.max(low, value));
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10_000) / 10_000 + 0;
}

/** Mouse, pen and fingers on the picture: look, orbit, zoom. */

/** @import {InputController} from '../sdk/input.js' */
/** @import {Mode} from '../sdk/protocol.js' */

const LOOK_RAD_PER_PIXEL = 0.0025;
const DRAG_RAD_PER_PIXEL = 0.005;
const ZOOM_PER_WHEEL_PIXEL = 0.0012;
const WHEEL_LINE_PIXELS = 32;
const CLICK_TRAVEL_PIXELS = 5;

/**
 * Feed pointers on `surface` to `input` until `signal` aborts. In explore a click locks the mouse; where the browser
 * refuses, and for fingers, dragging does the same.
 *
 * @param {HTMLElement} surface
 * @param {InputController} input
 * @param {Mode} mode
 * @param {AbortSignal} signal
 * @param {() => void} onLocked
 */
export function attachPointer(surface, input, mode, signal, onLocked) {
  if (mode === 'conference') return;
  const fingers = new Fingers(input);
  let travel = 0;
  surface.addEventListener('pointerdown', (event) => {
    surface.focus({ preventScroll: true });
    if (document.pointerLockElement === surface) return;
    surface.setPointerCapture(event.pointerId);
    surface.classList.add('is-dragging');
    travel = 0;
    fingers.down(event);
  }, { signal });
  surface.addEventListener('pointermove', (event) => {
    if (document.pointerLockElement === surface) return look(input, event.movementX, event.movementY, LOOK_RAD_PER_PIXEL);
    travel += fingers.move(event);
    return undefined;
  }, { signal });
  const up = (/** @type {PointerEvent} */ event) => {
    surface.classList.remove('is-dragging');
    const tapped = fingers.up(event) && travel < CLICK_TRAVEL_PIXELS;
    if (tapped && event.type === 'pointerup' && mode === 'explore' && event.pointerType === 'mouse') void lock(surface, onLocked);
  };
  surface.addEventListener('pointerup', up, { signal });
  surface.addEventListener('pointercancel', up, { signal });
  surface.addEventListener('contextmenu', (event) => event.preventDefault(), { signal });
  surface.addEventListener('wheel', (event) => wheel(event, input, mode), { signal, passive: false });
  signal.addEventListener('abort', () => { if (document.pointerLockElement === surface) document.exitPointerLock(); });
}

/** Where each finger is; one looks, two pinch. */
class Fingers {
  /** @param {InputController} input */
  constructor(input) {
    this._input = input;
    /** @type {Map<number, {x: number, y: number}>} */
    this._at = new Map();
  }

  /** @param {PointerEvent} event */
  down(event) {
    this._at.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /**
   * @param {PointerEvent} event
   * @returns {number} Pixels travelled.
   */
  move(event) {
    const before = this._at.get(event.pointerId);
    if (!before) return 0;
    const spread = this._spread();
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    this._at.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this._at.size === 1) look(this._input, dx, dy, DRAG_RAD_PER_PIXEL);
    else if (spread > 0) this._input.zoom(Math.log(this._spread() / spread));
    this._input.flush();
    return Math.hypot(dx, dy);
  }

  /**
   * @param {PointerEvent} event
   * @returns {boolean} Whether it was down here.
   */
  up(event) {
    return this._at.delete(event.pointerId);
  }

  _spread() {
    const [a, b] = [...this._at.values()];
    return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }
}

/**
 * To the right and down: the camera turns right (negative yaw) and down.
 *
 * @param {InputController} input
 * @param {number} dx
 * @param {number} dy
 * @param {number} scale
 */
function look(input, dx, dy, scale) {
  input.look(-dx * scale, -dy * scale);
  input.flush();
}

/**
 * @param {HTMLElement} surface
 * @param {() => void} onLocked
 */
async function lock(surface, onLocked) {
  try {
    await surface.requestPointerLock();
    onLocked();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}

/**
 * @param {WheelEvent} event
 * @param {InputController} input
 * @param {Mode} mode
 */
function wheel(event, input, mode) {
  event.preventDefault();
  if (mode !== 'gallery') return;
  const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PIXELS : 1);
  input.zoom(-pixels * ZOOM_PER_WHEEL_PIXEL);
  input.flush();
}

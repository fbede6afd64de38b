/** The walking stick of phones: how far the knob is dragged is how fast one walks. */

/** @import {InputController} from '../sdk/input.js' */

const DEAD_SHARE = 0.12;
const RUN_SHARE = 1.35;

/**
 * @param {HTMLElement} stick
 * @param {InputController} input
 * @param {AbortSignal} signal
 */
export function attachJoystick(stick, input, signal) {
  const knob = /** @type {HTMLElement} */ (stick.firstElementChild);
  /** @type {number | null} */
  let finger = null;

  function drag(/** @type {PointerEvent} */ event) {
    const box = stick.getBoundingClientRect();
    const radius = box.width / 2;
    const x = (event.clientX - box.left - radius) / radius;
    const y = (event.clientY - box.top - radius) / radius;
    const length = Math.hypot(x, y);
    const share = length > 1 ? 1 / length : 1;
    const awake = length > DEAD_SHARE ? 1 : 0;
    input.setMove(x * share * awake, -y * share * awake, 'joystick');
    input.run(length > RUN_SHARE);
    input.flush();
    knob.style.transform = `translate(${x * share * radius * 0.6}px, ${y * share * radius * 0.6}px)`;
  }

  function letGo(/** @type {PointerEvent} */ event) {
    if (event.pointerId !== finger) return;
    finger = null;
    knob.style.transform = '';
    input.setMove(0, 0, 'joystick');
    input.run(false);
    input.flush();
  }

  stick.addEventListener('pointerdown', (event) => {
    if (finger !== null) return;
    finger = event.pointerId;
    stick.setPointerCapture(finger);
    event.preventDefault();
    drag(event);
  }, { signal });
  stick.addEventListener('pointermove', (event) => { if (event.pointerId === finger) drag(event); }, { signal });
  stick.addEventListener('pointerup', letGo, { signal });
  stick.addEventListener('pointercancel', letGo, { signal });
}

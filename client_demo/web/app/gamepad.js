/** A gamepad in the standard layout (W3C Gamepad): left stick walks, right stick looks, triggers zoom, A is the hand. */

/** @import {InputController} from '../sdk/input.js' */

const DEAD_ZONE = 0.15;
const TURN_RAD_PER_S = 2.4;
const ZOOM_PER_S = 1.2;
const [BUTTON_A, LEFT_TRIGGER, RIGHT_TRIGGER, LEFT_STICK_PRESS] = [0, 6, 7, 10];

/**
 * @param {InputController} input
 * @param {() => void} onHand
 * @param {AbortSignal} signal
 */
export function attachGamepad(input, onHand, signal) {
  let handHeld = false;
  let polling = false;

  function poll() {
    const pad = navigator.getGamepads().find((each) => each?.connected && each.mapping === 'standard');
    polling = Boolean(pad) && !signal.aborted;
    if (!pad || signal.aborted) return;
    const [moveX, moveY, lookX, lookY] = pad.axes.map(withoutDrift);
    input.setMove(moveX, -moveY, 'gamepad');
    const zoom = pad.buttons[RIGHT_TRIGGER].value - pad.buttons[LEFT_TRIGGER].value;
    input.setTurn({ yaw: -lookX * TURN_RAD_PER_S, pitch: -lookY * TURN_RAD_PER_S, zoom: zoom * ZOOM_PER_S }, 'gamepad');
    if (moveX || moveY) input.run(pad.buttons[LEFT_STICK_PRESS].pressed);
    if (pad.buttons[BUTTON_A].pressed && !handHeld) onHand();
    handHeld = pad.buttons[BUTTON_A].pressed;
    requestAnimationFrame(poll);
  }

  function start() {
    if (!polling) poll();
  }

  window.addEventListener('gamepadconnected', start, { signal });
  start();
}

/**
 * @param {number} value
 * @returns {number} 0 inside the dead zone, then rising from 0 to 1.
 */
export function withoutDrift(value) {
  const beyond = Math.max(0, Math.abs(value) - DEAD_ZONE) / (1 - DEAD_ZONE);
  return Math.sign(value) * beyond;
}

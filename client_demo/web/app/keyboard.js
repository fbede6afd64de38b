/** Keys to movement. Physical keys (`code`), so that WASD lies where it should on every layout. */

import { isTyping } from './dom.js';

/** @import {InputController} from '../sdk/input.js' */
/** @import {Mode} from '../sdk/protocol.js' */

const TURN_RAD_PER_S = 1.7;
const ZOOM_PER_S = 1.2;

/** @type {Record<string, [number, number]>} Right, forward. */
const WALK = { KeyW: [0, 1], KeyS: [0, -1], KeyA: [-1, 0], KeyD: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
/** @type {Record<string, [number, number, number]>} Yaw, pitch, zoom. */
const TURN = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0] };
/** @type {Record<string, [number, number, number]>} */
const ORBIT = {
  ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0],
  KeyA: [1, 0, 0], KeyD: [-1, 0, 0], KeyW: [0, -1, 0], KeyS: [0, 1, 0],
  Equal: [0, 0, 1], NumpadAdd: [0, 0, 1], Minus: [0, 0, -1], NumpadSubtract: [0, 0, -1],
};

/**
 * Feed held keys to `input` until `signal` aborts.
 *
 * @param {InputController} input
 * @param {Mode} mode
 * @param {AbortSignal} signal
 */
export function attachKeyboard(input, mode, signal) {
  /** @type {Set<string>} */
  const held = new Set();
  const walk = mode === 'explore' ? WALK : {};
  const turn = mode === 'explore' ? TURN : mode === 'gallery' ? ORBIT : {};

  function apply() {
    const [x, z] = sum(held, walk, 2);
    const [yaw, pitch, zoom] = sum(held, turn, 3);
    input.setMove(Math.sign(x), Math.sign(z), 'keys');
    input.setTurn({ yaw: yaw * TURN_RAD_PER_S, pitch: pitch * TURN_RAD_PER_S, zoom: zoom * ZOOM_PER_S }, 'keys');
    input.flush();
  }

  window.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === 'Shift') input.run(true);
    else if (event.code in walk || event.code in turn) {
      event.preventDefault();
      held.add(event.code);
    } else return;
    apply();
  }, { signal });
  window.addEventListener('keyup', (event) => {
    if (event.key === 'Shift') input.run(false);
    if (held.delete(event.code) || event.key === 'Shift') apply();
  }, { signal });
  const letGo = () => {
    held.clear();
    input.release();
    input.flush();
  };
  window.addEventListener('blur', letGo, { signal });
  document.addEventListener('visibilitychange', letGo, { signal });
}

/**
 * @param {Set<string>} held
 * @param {Record<string, number[]>} table
 * @param {number} size
 */
function sum(held, table, size) {
  const total = new Array(size).fill(0);
  for (const code of held) table[code]?.forEach((value, index) => { total[index] += value; });
  return total;
}

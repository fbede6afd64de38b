import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputMachine, LIMITS } from '../sdk/input.js';

/** Sample each 16 ms of virtual time and return what was sent. */
function run(machine, fromMs, untilMs) {
  const sent = [];
  for (let nowMs = fromMs; nowMs < untilMs; nowMs += 16) {
    const message = machine.sample(nowMs);
    if (message) sent.push({ ...message, nowMs });
  }
  return sent;
}

test('a visitor at rest sends nothing', () => {
  assert.deepEqual(run(new InputMachine(LIMITS.explore), 0, 5000), []);
});

test('a change is sent at once, repeated three times, then there is silence', () => {
  const machine = new InputMachine(LIMITS.explore);
  run(machine, 0, 1000);
  machine.look(0.5, 0);
  const sent = run(machine, 1000, 5000);
  assert.equal(sent[0].nowMs, 1000);
  assert.equal(sent.length, 4);
  assert.ok(sent.every((message) => message.yaw === 0.5));
  assert.deepEqual(sent.map((message) => message.seq), [1, 2, 3, 4]);
});

test('held movement is repeated about ten times a second, and its release is sent', () => {
  const machine = new InputMachine(LIMITS.explore);
  machine.setMove(0, 1, 'keys');
  const held = run(machine, 0, 2000);
  assert.ok(held.length >= 18 && held.length <= 26, `${held.length} messages`);
  machine.setMove(0, 0, 'keys');
  const released = run(machine, 2000, 4000);
  assert.equal(released.length, 4);
  assert.ok(released.every((message) => message.move_z === 0));
});

test('no more than sixty messages a second leave, however fast the mouse is', () => {
  const machine = new InputMachine(LIMITS.explore);
  let sent = 0;
  for (let nowMs = 0; nowMs < 1000; nowMs += 1) {
    machine.look(0.001, 0);
    if (machine.sample(nowMs)) sent += 1;
  }
  assert.ok(sent <= 67, `${sent} messages`);
});

test('devices add up to at most full speed', () => {
  const machine = new InputMachine(LIMITS.explore);
  machine.setMove(1, 1, 'keys');
  machine.setMove(1, 1, 'gamepad');
  const message = machine.sample(0);
  assert.ok(Math.abs(Math.hypot(message.move_x, message.move_z) - 1) < 1e-3);
});

test('turning is a running total that goes on while a key is held', () => {
  const machine = new InputMachine(LIMITS.explore);
  machine.sample(0);
  machine.setTurn({ yaw: 1, pitch: 0, zoom: 0 }, 'keys');
  const turned = run(machine, 16, 1016).at(-1).yaw;
  assert.ok(Math.abs(turned - 1) < 0.05, String(turned));
  machine.setTurn({ yaw: 0, pitch: 0, zoom: 0 }, 'keys');
  assert.ok(Math.abs(run(machine, 1016, 2000).at(-1).yaw - turned) < 0.05);
});

test('totals stop where the world stops, so that turning back answers at once', () => {
  const machine = new InputMachine(LIMITS.gallery);
  machine.zoom(50);
  machine.look(0, -50);
  const message = machine.sample(0);
  assert.equal(message.zoom, LIMITS.gallery.zoom[1]);
  assert.equal(message.pitch, LIMITS.gallery.pitch[0]);
});

test('losing the window lets go of everything held', () => {
  const machine = new InputMachine(LIMITS.explore);
  machine.setMove(1, 0, 'keys');
  machine.run(true);
  run(machine, 0, 500);
  machine.release();
  const last = run(machine, 500, 1500).at(-1);
  assert.deepEqual([last.move_x, last.move_z, last.run], [0, 0, false]);
});

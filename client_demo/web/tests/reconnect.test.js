import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FarstageError, parseRetryAfter } from '../sdk/problems.js';
import { MAX_ADMISSION_TRIES, RECONNECT_BUDGET_MS, admissionStep, backoffMs, classify, delay, reconnectStep } from '../sdk/reconnect.js';

const middle = () => 0.5;
const refusal = (status, retryAfterS) =>
  new FarstageError({ type: 'urn:farstage:problem:test', title: 'test', status, retry_after_s: retryAfterS });

test('back-off doubles from half a second to eight', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5].map((attempt) => backoffMs(attempt, middle)), [500, 1000, 2000, 4000, 8000, 8000]);
});

test('jitter spreads a delay by a fifth to either side', () => {
  assert.equal(backoffMs(1, () => 0), 800);
  assert.ok(backoffMs(1, () => 0.999) <= 1200);
});

test('refused tokens and unknown rooms are final, full ones are waited for', () => {
  for (const status of [400, 401, 403, 404, 410]) assert.equal(classify(refusal(status)), 'final');
  assert.equal(classify(refusal(409)), 'final');
  assert.equal(classify(refusal(409, 5)), 'full');
  assert.equal(classify(refusal(503)), 'full');
  assert.equal(classify(refusal(0)), 'transient');
});

test('a full room is asked again when the broker says, and not for ever', () => {
  const step = admissionStep(refusal(409, 10), 1, () => 0);
  assert.deepEqual(step, { retryInMs: 10_000 });
  assert.deepEqual(admissionStep(refusal(409, 10), MAX_ADMISSION_TRIES, middle), { giveUp: true });
});

test('a Retry-After of zero cannot make a client spin, one of a day cannot make it hang', () => {
  assert.ok(admissionStep(refusal(503, 0), 1, middle).retryInMs >= 1000);
  assert.ok(admissionStep(refusal(503, 86_400), 1, middle).retryInMs <= 72_000);
});

test('a broker that does not answer is tried three times', () => {
  assert.ok('retryInMs' in admissionStep(refusal(0), 2, middle));
  assert.deepEqual(admissionStep(refusal(0), 3, middle), { giveUp: true });
});

test('reconnecting ends within its budget', () => {
  let elapsedMs = 0;
  let attempt = 0;
  for (;;) {
    const step = reconnectStep(refusal(0), attempt, elapsedMs, middle);
    if ('giveUp' in step) break;
    elapsedMs += step.retryInMs;
    attempt += 1;
  }
  assert.ok(elapsedMs <= RECONNECT_BUDGET_MS);
  assert.ok(attempt >= 8 && attempt <= 12, `${attempt} tries`);
});

test('a session that is gone is not asked for again', () => {
  assert.deepEqual(reconnectStep(refusal(404), 1, 1000, middle), { giveUp: true });
});

test('waiting can be called off', async () => {
  const controller = new AbortController();
  const waiting = delay(60_000, controller.signal);
  controller.abort(new Error('left'));
  await assert.rejects(waiting, /left/);
});

test('Retry-After is read as seconds and as a date', () => {
  assert.equal(parseRetryAfter('7', 0), 7);
  assert.equal(parseRetryAfter('Thu, 01 Jan 1970 00:00:09 GMT', 4000), 5);
  assert.equal(parseRetryAfter('soon', 0), undefined);
  assert.equal(parseRetryAfter(null, 0), undefined);
});

import assert from 'node:assert/strict';
import test from 'node:test';

import { SilenceWatch } from '../sdk/silence.js';

test('an edge that sends is fine', () => {
  const watch = new SilenceWatch();
  for (let second = 1; second < 10; second += 1) assert.equal(watch.judge(second * 1000, second * 1000), 'fine');
});

test('a picture at rest is asked about, and an answer settles it each time', () => {
  const watch = new SilenceWatch();
  watch.judge(5000, 0);
  for (let second = 1; second < 20; second += 1) {
    const verdict = watch.judge(5000, second * 1000);
    assert.ok(verdict === 'ask' || verdict === 'fine', verdict);
    if (verdict === 'ask') watch.hear(second * 1000 + 40);
  }
});

test('an edge that is gone is known two seconds after its last byte, and given up when no other way was found', () => {
  const watch = new SilenceWatch();
  watch.judge(5000, 0);
  assert.equal(watch.judge(5000, 1000), 'ask');
  assert.equal(watch.judge(5000, 1500), 'fine');
  assert.equal(watch.judge(5000, 2000), 'broken');
  assert.ok(watch.isOverdue(2000));
  assert.equal(watch.judge(5000, 4000), 'broken');
  assert.equal(watch.judge(5000, 5000), 'lost');
});

test('what comes by another way ends the alarm', () => {
  const watch = new SilenceWatch();
  watch.judge(5000, 0);
  watch.judge(5000, 1000);
  assert.equal(watch.judge(5000, 2000), 'broken');
  assert.equal(watch.judge(5600, 3000), 'fine');
  assert.ok(!watch.isOverdue(3000));
});

test('a page that was asleep asks before it alarms', () => {
  const watch = new SilenceWatch();
  watch.judge(5000, 0);
  assert.equal(watch.judge(5000, 600_000), 'ask');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { preferGranted, videoCapabilities } from '../sdk/codecs.js';
import { PhotonMeter, reached } from '../sdk/photon.js';
import { summarise } from '../sdk/probe.js';
import { EMPTY_ROSTER, applyRosterEvent } from '../sdk/roster.js';
import { clientReport, difference, snapshot } from '../sdk/statistics.js';

const person = (participant, more = {}) => ({ participant, display_name: participant, role: 'visitor', muted: false, hand_raised: false, ...more });

test('an input is seen by the first frame that shows it or a later one, across the wrap', () => {
  const meter = new PhotonMeter();
  meter.sent(65_534, 100);
  meter.sent(65_537, 120);
  assert.deepEqual(meter.shown(65_533, 130), []);
  assert.deepEqual(meter.shown(0, 150), [50]);
  assert.deepEqual(meter.shown(1, 160), [40]);
  assert.equal(meter.waiting, false);
});

test('sequence numbers compare by serial arithmetic', () => {
  assert.ok(reached(5, 5) && reached(2, 65_530) && !reached(65_530, 2));
});

test('a meter forgets inputs no frame ever shows', () => {
  const meter = new PhotonMeter();
  for (let seq = 0; seq < 5000; seq += 1) meter.sent(seq, seq);
  assert.ok(meter.shown(4999, 5000).length <= 256);
});

test('probes are summed up as median, jitter and loss', () => {
  assert.deepEqual(summarise([10, null, 14, 12]), { rtt_ms: 12, jitter_ms: 3, loss: 0.25 });
  assert.equal(summarise([null, null]), null);
});

test('capabilities name H.264 profiles once, and only those that span packets', () => {
  const codecs = [
    { mimeType: 'video/VP8' },
    { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
    { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0;profile-level-id=42001f' },
    { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=4D001F' },
  ];
  assert.deepEqual(videoCapabilities(codecs), [{ codec: 'H264', profiles: ['42e0', '4d00'] }, { codec: 'VP8', profiles: [] }]);
  assert.equal(preferGranted(codecs, 'H264')[0].mimeType, 'video/H264');
  assert.equal(preferGranted(codecs, 'H264').length, codecs.length);
});

const raw = (values) => [{ type: 'inbound-rtp', kind: 'video', frameWidth: 1280, frameHeight: 720, ...values }];

test('figures are those of the interval, not of the whole visit', () => {
  const before = snapshot(raw({ bytesReceived: 1000, packetsReceived: 10, packetsLost: 1, framesDecoded: 5 }), 0);
  const after = snapshot(raw({ bytesReceived: 126_000, packetsReceived: 108, packetsLost: 3, framesDecoded: 35, totalDecodeTime: 0.06 }), 1000);
  const figures = difference(before, after, 40);
  assert.equal(figures.framesPerS, 30);
  assert.equal(figures.bitrateBps, 1_000_000);
  assert.equal(figures.loss, 0.02);
  assert.equal(figures.decodeMs, 2);
  assert.equal(figures.inputToPhotonMs, 40);
});

test('a report never leaves the bounds of the protocol', () => {
  const still = snapshot(raw({}), 0);
  const report = clientReport({ ...difference(still, still, 1e9), framesPerS: 1e9 });
  assert.equal(report.input_to_photon_ms, 60_000);
  assert.equal(report.frames_per_s, 1000);
  assert.equal(report.decode_ms, null);
});

test('a roster follows arrivals, changes and departures', () => {
  let roster = applyRosterEvent(EMPTY_ROSTER, { type: 'roster', participants: [person('a')], total: 1, exhibits: [], stage_cameras: ['wide'] });
  roster = applyRosterEvent(roster, { type: 'roster_joined', participant: person('b'), total: 2 });
  roster = applyRosterEvent(roster, { type: 'roster_joined', participant: person('a', { hand_raised: true }), total: 2 });
  assert.deepEqual(roster.participants.map((entry) => [entry.participant, entry.hand_raised]), [['a', true], ['b', false]]);
  roster = applyRosterEvent(roster, { type: 'roster_left', participant: 'a', total: 1 });
  assert.deepEqual(roster.participants.map((entry) => entry.participant), ['b']);
  assert.deepEqual(roster.stageCameras, ['wide']);
});

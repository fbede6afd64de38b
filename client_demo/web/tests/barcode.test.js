import assert from 'node:assert/strict';
import { test } from 'node:test';

import { crc16, decode, layoutFor, readBarcode } from '../sdk/barcode.js';

/** Codes the renderer stamps (computed from the format's definition), and what they say. */
const VECTORS = [
  ['0000000000000000313e', { frameNumber: 0, timeMs: 0, inputSeq: 0 }],
  ['12345697e87bffff9393', { frameNumber: 0x123456, timeMs: 9955451, inputSeq: 0xffff }],
  ['ffffffabcdef80019fbf', { frameNumber: 0xffffff, timeMs: 0xabcdef, inputSeq: 0x8001 }],
];

const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));

/** A picture's top rows with `hex` drawn in limited-range grey levels. */
function picture(hex, width, { white = 235, black = 16 } = {}) {
  const { columns, rows, side } = layoutFor(width);
  const rgba = new Uint8ClampedArray(width * rows * side * 4).fill(90);
  bytes(hex).forEach((byte, index) => {
    for (let bit = 0; bit < 8; bit += 1) {
      const cell = index * 8 + bit;
      const [left, top] = [(cell % columns) * side, Math.floor(cell / columns) * side];
      const level = byte & (0x80 >> bit) ? white : black;
      for (let y = top; y < top + side; y += 1) rgba.fill(level, (y * width + left) * 4, (y * width + left + side) * 4);
    }
  });
  return rgba;
}

test('the checksum is CRC-16/CCITT-FALSE', () => {
  assert.equal(crc16(new TextEncoder().encode('123456789')), 0x29b1);
});

test('every vector decodes to what it says', () => {
  for (const [hex, reading] of VECTORS) assert.deepEqual(decode(bytes(hex)), reading);
});

test('a single damaged bit never passes for a reading', () => {
  const code = bytes(VECTORS[1][0]);
  for (let bit = 0; bit < 80; bit += 1) {
    const damaged = Uint8Array.from(code);
    damaged[bit >> 3] ^= 0x80 >> (bit & 7);
    assert.equal(decode(damaged), null);
  }
});

test('codes are read from pictures of every shape', () => {
  for (const width of [160, 322, 360, 390, 640, 720, 1278, 1280, 1920, 3840]) {
    for (const [hex, reading] of VECTORS) assert.deepEqual(readBarcode(picture(hex, width), width), reading, `width ${width}`);
  }
});

test('codes faded by low bitrate are read, and pictures without one are not', () => {
  assert.deepEqual(readBarcode(picture(VECTORS[2][0], 640, { white: 150, black: 100 }), 640), VECTORS[2][1]);
  assert.equal(readBarcode(new Uint8ClampedArray(1280 * 16 * 4).fill(200), 1280), null);
});

test('a strip that is too short or too narrow is no code', () => {
  assert.equal(readBarcode(new Uint8ClampedArray(1280 * 4), 1280), null);
  assert.equal(readBarcode(new Uint8ClampedArray(100 * 100 * 4), 100), null);
});

/** What browser tests read: `window.farstage`, filled from each presented frame's barcode. Only with `?test=1`. */

/** @import {Reading} from '../sdk/barcode.js' */
/** @import {Session} from '../sdk/session.js' */

const MOST_KEPT = 5000;

/** @typedef {ReturnType<typeof createProbe>} TestProbe */

/** Make the probe and hang it on the window. */
export function createProbe() {
  const probe = {
    /** @type {Session | null} */
    session: null,
    /** @type {string[]} States of the session, in order. */
    states: [],
    barcode: {
      /** Frames presented, readable or not. */
      frames: 0,
      crcFailures: 0,
      /** @type {Reading | null} */
      lastFrame: null,
      /** @type {number[]} Each picture once: a frame that is drawn late is the next one's picture already. */
      frameNumbers: [],
      /** @type {number | null} `seq` modulo 2**16 of the last input the picture shows. */
      lastInput: null,
      /** @type {number[]} */
      inputToPhotonMs: [],
    },
    /** Number of the last input message sent. */
    get lastInputSent() {
      return probe.session?.input.seq ?? 0;
    },
  };
  Reflect.set(window, 'farstage', probe);
  return probe;
}

/**
 * @param {TestProbe} probe
 * @param {Reading | null} reading
 */
export function recordFrame({ barcode }, reading) {
  barcode.frames += 1;
  if (!reading) {
    barcode.crcFailures += 1;
    return;
  }
  const seenAlready = barcode.lastFrame?.frameNumber === reading.frameNumber;
  barcode.lastFrame = reading;
  barcode.lastInput = reading.inputSeq;
  if (!seenAlready) barcode.frameNumbers.push(reading.frameNumber);
  barcode.frameNumbers.splice(0, barcode.frameNumbers.length - MOST_KEPT);
}

/**
 * @param {TestProbe} probe
 * @param {number} delayMs
 */
export function recordDelay({ barcode }, delayMs) {
  barcode.inputToPhotonMs.push(delayMs);
  barcode.inputToPhotonMs.splice(0, barcode.inputToPhotonMs.length - MOST_KEPT);
}

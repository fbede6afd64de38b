/**
 * Watches presented video frames: their barcodes and, from these, the input-to-photon delay.
 *
 * In test mode every frame is read. Otherwise a frame is read only while an input waits to be seen, and only once the
 * picture is known to carry a code, so an ordinary visit costs nothing.
 */

import { VideoBarcodeReader, layoutFor } from './barcode.js';
import { PhotonMeter } from './photon.js';

/** @import {Reading} from './barcode.js' */

const PROBE_FRAMES = 12;
const MAX_SAMPLES = 600;
/** Rows below the code into which the codec smears it. */
const CODE_FRINGE_PIXELS = 2;

export class PictureClock {
  /**
   * @param {HTMLVideoElement} video
   * @param {{everyFrame?: boolean, onFrame?: (reading: Reading | null, nowMs: number) => void,
   *   onDelay?: (delayMs: number) => void}} [options]
   */
  constructor(video, { everyFrame = false, onFrame, onDelay } = {}) {
    this._video = video;
    this._everyFrame = everyFrame;
    this._onFrame = onFrame;
    this._onDelay = onDelay;
    this._reader = new VideoBarcodeReader();
    this._meter = new PhotonMeter();
    this._probesLeft = PROBE_FRAMES;
    /** @type {number[]} */
    this._delaysMs = [];
    this._stopped = false;
    /** Whether the picture carries a code, once known. */
    this.coded = false;
    this._request();
  }

  /**
   * @param {number} seq
   * @param {number} nowMs
   */
  inputSent(seq, nowMs) {
    if (this.coded) this._meter.sent(seq, nowMs);
  }

  /** Share of the picture's height that the code takes, 0 without one. */
  get codeShare() {
    if (!this.coded || !this._video.videoHeight) return 0;
    const { rows, side } = layoutFor(this._video.videoWidth);
    return (rows * side + CODE_FRINGE_PIXELS) / this._video.videoHeight;
  }

  /** The median delay since the last call, in milliseconds; `null` without one. */
  takeMedianMs() {
    const sorted = this._delaysMs.toSorted((a, b) => a - b);
    this._delaysMs = [];
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
  }

  /** Stop watching. */
  stop() {
    this._stopped = true;
  }

  _request() {
    if (!this._stopped) this._video.requestVideoFrameCallback((_now, frame) => this._presented(frame));
  }

  /** @param {VideoFrameCallbackMetadata} frame */
  _presented(frame) {
    this._request();
    if (!this._everyFrame && this._probesLeft <= 0 && !this._meter.waiting) return;
    this._probesLeft -= 1;
    const reading = this._reader.read(this._video);
    const nowMs = Math.max(performance.now(), frame.expectedDisplayTime);
    if (reading) this._take(reading, nowMs);
    this._onFrame?.(reading, nowMs);
  }

  /**
   * @param {Reading} reading
   * @param {number} nowMs
   */
  _take(reading, nowMs) {
    this.coded = true;
    for (const delayMs of this._meter.shown(reading.inputSeq, nowMs)) {
      this._delaysMs.push(delayMs);
      this._onDelay?.(delayMs);
    }
    this._delaysMs.splice(0, this._delaysMs.length - MAX_SAMPLES);
  }
}

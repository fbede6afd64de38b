/**
 * Whether the edge is still there, from what arrives: pure, the time is an argument.
 *
 * A browser takes six seconds and more to call a connection broken whose other end is gone. Here a second without a single
 * byte is reason to ask (`ping` on the control channel, which the edge answers at once), and another one without an answer to
 * look for another way. A picture at rest sends nothing for long, so silence alone is no sign.
 */

const SILENT_MS = 800;
const ANSWERED_WITHIN_MS = 900;
const GIVEN_UP_AFTER_MS = 4_000;

/** @typedef {'fine' | 'ask' | 'broken' | 'lost'} Verdict `broken`: look for another way; `lost`: there was none. */

export class SilenceWatch {
  constructor() {
    this._received = -1;
    this._heardMs = 0;
    /** @type {number | null} */
    this._askedMs = null;
  }

  /** @param {number} nowMs The edge has said something. */
  hear(nowMs) {
    this._heardMs = nowMs;
    this._askedMs = null;
  }

  /**
   * @param {number} received Bytes that have come by this connection, in all.
   * @param {number} nowMs
   * @returns {Verdict}
   */
  judge(received, nowMs) {
    if (received !== this._received) {
      this._received = received;
      this.hear(nowMs);
    }
    if (nowMs - this._heardMs < SILENT_MS) return 'fine';
    if (this._askedMs === null) {
      this._askedMs = nowMs;
      return 'ask';
    }
    const waitedMs = nowMs - this._askedMs;
    if (waitedMs < ANSWERED_WITHIN_MS) return 'fine';
    return waitedMs < GIVEN_UP_AFTER_MS ? 'broken' : 'lost';
  }

  /** @param {number} nowMs @returns {boolean} Whether an answer is overdue. */
  isOverdue(nowMs) {
    return this._askedMs !== null && nowMs - this._askedMs >= ANSWERED_WITHIN_MS;
  }
}

/**
 * Input to photon: from sending an `Input` until a frame whose barcode shows it (or a later one) is presented.
 * Numbers in the barcode wrap at 2**16; a bounded number of messages is waited for.
 */

const SEQ_MODULUS = 2 ** 16;
const MAX_PENDING = 256;
const MAX_WAIT_MS = 5_000;

/** Pure: times are arguments. */
export class PhotonMeter {
  constructor() {
    /** @type {{seq: number, sentAtMs: number}[]} */
    this._pending = [];
  }

  /** Whether a message is still waited for, so that frames are worth reading. */
  get waiting() {
    return this._pending.length > 0;
  }

  /**
   * @param {number} seq
   * @param {number} nowMs
   */
  sent(seq, nowMs) {
    this._pending = this._pending.filter((message) => nowMs - message.sentAtMs < MAX_WAIT_MS).slice(1 - MAX_PENDING);
    this._pending.push({ seq: seq % SEQ_MODULUS, sentAtMs: nowMs });
  }

  /**
   * A frame that shows `inputSeq` was presented at `nowMs`.
   *
   * @param {number} inputSeq Modulo 2**16.
   * @param {number} nowMs
   * @returns {number[]} The delays of the messages it is the first to show, in milliseconds.
   */
  shown(inputSeq, nowMs) {
    const seen = this._pending.filter((message) => reached(inputSeq, message.seq));
    if (seen.length > 0) this._pending = this._pending.filter((message) => !reached(inputSeq, message.seq));
    return seen.map((message) => nowMs - message.sentAtMs);
  }
}

/**
 * Whether `current` is `target` or later, modulo 2**16 (RFC 1982).
 *
 * @param {number} current
 * @param {number} target
 */
export function reached(current, target) {
  return ((current - target + SEQ_MODULUS) % SEQ_MODULUS) < SEQ_MODULUS / 2;
}

/** The `<video>`: shows the stream as large as makes sense, hides the barcode's strip, plays when it may. */

import { byId } from './dom.js';

/** @import {Session} from '../sdk/session.js' */

/** Up to this mismatch of shapes the picture is cut to fill the page; beyond it, it is shown whole. */
const COVER_UP_TO = 1.5;

export class Picture {
  constructor() {
    this.video = /** @type {HTMLVideoElement} */ (byId('video'));
    this._frame = byId('picture');
    this.video.addEventListener('resize', () => this.fit());
    window.addEventListener('resize', () => this.fit());
  }

  /**
   * @param {Session} session
   * @returns {Promise<boolean>} Whether the browser plays it without being tapped first.
   */
  async attach(session) {
    this.video.srcObject = session.video;
    return this.play();
  }

  /** @returns {Promise<boolean>} */
  async play() {
    try {
      await this.video.play();
      return true;
    } catch (error) {
      if (error instanceof DOMException) return error.name !== 'NotAllowedError';
      throw error;
    }
  }

  detach() {
    this.video.srcObject = null;
    this.hideCode(0);
  }

  /** Choose between filling the page and showing the whole picture. */
  fit() {
    const { videoWidth, videoHeight, clientWidth, clientHeight } = this.video;
    if (!videoWidth || !clientHeight) return;
    const mismatch = (videoWidth / videoHeight) / (clientWidth / clientHeight);
    this._frame.dataset.fit = Math.max(mismatch, 1 / mismatch) <= COVER_UP_TO ? 'cover' : 'contain';
  }

  /** @param {number} share Share of the picture's height that the barcode takes. */
  hideCode(share) {
    this._frame.style.setProperty('--code-crop', String(share > 0 ? (share / (1 - share)) * 100 : 0));
  }

  /**
   * The picture area in device pixels, as a join request wants it.
   *
   * @param {number} maxFps
   */
  static viewport(maxFps) {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    return { width: Math.round(innerWidth * scale), height: Math.round(innerHeight * scale), max_fps: maxFps };
  }
}

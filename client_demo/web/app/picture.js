/** The `<video>`: shows the stream as large as makes sense, hides the barcode's strip, plays when it may. */

import { byId } from './dom.js';

/** @import {Session} from '../sdk/session.js' */

/** Up to this mismatch of shapes the picture is cut to fill the page; beyond it, it is shown whole. */
const COVER_UP_TO = 1.5;

export class Picture {
  constructor() {
    this.video = /** @type {HTMLVideoElement} */ (byId('video'));
    this._frame = byId('picture');
    this._codeShare = 0;
    this.video.addEventListener('resize', () => this.fit());
    window.addEventListener('resize', () => this.fit());
  }

  /**
   * @param {Session} session
   * With sound if the visitor has touched the page, as browsers want it.
   *
   * @returns {Promise<boolean>} Whether the browser plays it without being tapped first.
   */
  async attach(session) {
    this.video.srcObject = session.video;
    if (await this.play()) return true;
    this.video.muted = true;
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

  /** Whether the visitor has done anything here yet; browsers let pages sound only then. */
  static get mayHaveSound() {
    return navigator.userActivation?.hasBeenActive ?? false;
  }

  /** Choose between filling the page and showing the whole picture, in both cases without the barcode. */
  fit() {
    const { videoWidth, videoHeight } = this.video;
    const { clientWidth, clientHeight } = this._frame;
    if (!videoWidth || !clientHeight) return;
    const mismatch = (videoWidth / videoHeight) / (clientWidth / clientHeight);
    const covers = Math.max(mismatch, 1 / mismatch) <= COVER_UP_TO;
    this._frame.dataset.fit = covers ? 'cover' : 'contain';
    const share = this._codeShare;
    this._frame.style.setProperty('--code-crop', String(covers ? (share / (1 - share)) * 100 : 0));
    const shownHeight = Math.min(clientHeight, (clientWidth * videoHeight) / videoWidth);
    const hiddenPx = !covers && share > 0 ? (clientHeight - shownHeight) / 2 + share * shownHeight : 0;
    this._frame.style.setProperty('--code-clip', `${hiddenPx}px`);
  }

  /** @param {number} share Share of the picture's height that the barcode takes. */
  hideCode(share) {
    this._codeShare = share;
    this.fit();
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

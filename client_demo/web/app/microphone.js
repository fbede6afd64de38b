/** The visitor's voice: asked for only when the button is pressed, and given back when it is released. */

export class Microphone {
  constructor() {
    /** @type {MediaStreamTrack | null} */
    this.track = null;
  }

  /**
   * @returns {Promise<MediaStreamTrack>}
   * @throws {DOMException} when the visitor or the browser refuses.
   */
  async open() {
    if (!navigator.mediaDevices) throw new DOMException('HTTPS', 'SecurityError');
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    this.track = stream.getAudioTracks()[0];
    return this.track;
  }

  close() {
    this.track?.stop();
    this.track = null;
  }
}

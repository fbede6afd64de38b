/** One WHEP connection to an edge: offer, answer, two data channels, restarts of ICE, and its end. */

import { preferGranted } from './codecs.js';
import { FRAGMENT_TYPE, restartFragment, withCredentials } from './ice_restart.js';
import { request } from './problems.js';
import { CHANNEL_CONTROL, CHANNEL_INPUT } from './protocol.js';
import { delay } from './reconnect.js';

/** @import {JoinGrant} from './protocol.js' */

const GATHERING_BOUND_MS = 500;

/** A live peer connection that receives one stream. */
export class WhepViewer {
  /**
   * @param {RTCPeerConnection} connection
   * @param {RTCDataChannel} input
   * @param {RTCDataChannel} control
   * @param {RTCRtpTransceiver} audio
   */
  constructor(connection, input, control, audio) {
    this.connection = connection;
    this.input = input;
    this.control = control;
    this.audio = audio;
    this.resourceUrl = '';
    this.token = '';
    this.closed = false;
    this._restarting = false;
  }

  /**
   * Look for another way to the edge, as from another network: the connection, its picture and its channels go on.
   *
   * @param {AbortSignal} signal Gives it up; the connection is then as it was.
   * @throws {import('./problems.js').FarstageError} when the edge cannot.
   */
  async restartIce(signal) {
    const { connection } = this;
    const former = connection.currentRemoteDescription?.sdp;
    if (this._restarting || this.closed || !former) return;
    this._restarting = true;
    try {
      connection.restartIce();
      await connection.setLocalDescription();
      const fragment = await this._exchange(restartFragment(connection.localDescription?.sdp ?? ''), signal);
      await connection.setRemoteDescription({ type: 'answer', sdp: withCredentials(former, fragment) });
    } catch (error) {
      if (connection.signalingState === 'have-local-offer') await connection.setLocalDescription({ type: 'rollback' });
      throw error;
    } finally {
      this._restarting = false;
    }
  }

  /**
   * @param {string} fragment
   * @param {AbortSignal} signal
   * @returns {Promise<string>} The fragment that answers it.
   */
  async _exchange(fragment, signal) {
    const headers = { 'Content-Type': FRAGMENT_TYPE, 'If-Match': '*', Authorization: `Bearer ${this.token}` };
    const response = await request(this.resourceUrl, { method: 'PATCH', headers, body: fragment, signal });
    return response.text();
  }

  /** Close the connection and tell the edge, also while the page is being unloaded. */
  async close() {
    if (this.closed) return;
    this.closed = true;
    this.connection.close();
    if (!this.resourceUrl) return;
    const headers = { Authorization: `Bearer ${this.token}` };
    await request(this.resourceUrl, { method: 'DELETE', headers, keepalive: true }).catch(() => undefined);
  }
}

/**
 * Connect to the edge of a grant. `prepare` gets the viewer before the offer is made, to attach its listeners.
 *
 * @param {JoinGrant} grant
 * @param {MediaStream} stream Receives the tracks.
 * @param {(viewer: WhepViewer) => void} prepare
 * @param {AbortSignal} [signal]
 * @returns {Promise<WhepViewer>}
 * @throws {import('./problems.js').FarstageError} when the edge refuses.
 */
export async function openViewer(grant, stream, prepare, signal) {
  const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const video = connection.addTransceiver('video', { direction: 'recvonly' });
  const audio = connection.addTransceiver('audio', { direction: 'sendrecv' });
  const capabilities = RTCRtpReceiver.getCapabilities('video');
  if (capabilities) video.setCodecPreferences(preferGranted(capabilities.codecs, grant.codec));
  const viewer = new WhepViewer(
    connection,
    connection.createDataChannel(CHANNEL_INPUT, { ordered: false, maxRetransmits: 0 }),
    connection.createDataChannel(CHANNEL_CONTROL),
    audio,
  );
  collectTracks(connection, stream);
  prepare(viewer);
  try {
    await negotiate(viewer, grant, signal);
  } catch (error) {
    await viewer.close();
    throw error;
  }
  return viewer;
}

/**
 * @param {WhepViewer} viewer
 * @param {JoinGrant} grant
 * @param {AbortSignal} [signal]
 */
async function negotiate(viewer, grant, signal) {
  const { connection } = viewer;
  await connection.setLocalDescription();
  await gathered(connection, signal);
  const response = await request(grant.whep_url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${grant.session_token}` },
    body: connection.localDescription?.sdp ?? '',
    signal,
  });
  viewer.resourceUrl = new URL(response.headers.get('Location') ?? grant.whep_url, grant.whep_url).href;
  viewer.token = grant.session_token;
  await connection.setRemoteDescription({ type: 'answer', sdp: await response.text() });
}

/**
 * Wait until candidates are gathered, but not for the sake of a slow interface: edges are ICE-lite or passive and
 * learn the client's address from its first check.
 *
 * @param {RTCPeerConnection} connection
 * @param {AbortSignal} [signal]
 */
async function gathered(connection, signal) {
  if (connection.iceGatheringState === 'complete') return;
  const complete = new Promise((resolve) => {
    connection.addEventListener('icegatheringstatechange', () => {
      if (connection.iceGatheringState === 'complete') resolve(undefined);
    });
  });
  await Promise.race([complete, delay(GATHERING_BOUND_MS, signal)]);
}

/**
 * @param {RTCPeerConnection} connection
 * @param {MediaStream} stream
 */
function collectTracks(connection, stream) {
  connection.addEventListener('track', ({ track, receiver }) => {
    if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
    if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = 0;
    for (const old of stream.getTracks()) if (old.kind === track.kind) stream.removeTrack(old);
    stream.addTrack(track);
  });
}

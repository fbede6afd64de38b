/** What this browser decodes, in the broker's words, and in the order to offer it. */

/** @import {Codec, VideoCapability} from './protocol.js' */

/** @typedef {{mimeType: string, sdpFmtpLine?: string}} RtpCodec The two fields of `RTCRtpCodec` that matter here. */

/**
 * Codecs to name in a join request, H.264 first: it is the one that GPUs encode.
 *
 * @param {RtpCodec[]} codecs As `RTCRtpReceiver.getCapabilities('video').codecs` lists them.
 * @returns {VideoCapability[]}
 */
export function videoCapabilities(codecs) {
  const profiles = new Set(codecs.filter((codec) => isCodec(codec, 'H264')).map(h264Profile));
  profiles.delete('');
  /** @type {VideoCapability[]} */
  const capabilities = [];
  if (profiles.size > 0) capabilities.push({ codec: 'H264', profiles: [...profiles].slice(0, 32) });
  if (codecs.some((codec) => isCodec(codec, 'VP8'))) capabilities.push({ codec: 'VP8', profiles: [] });
  return capabilities;
}

/**
 * The browser's codecs with the granted one first, and retransmission kept.
 *
 * @template {RtpCodec} T
 * @param {T[]} codecs
 * @param {Codec} granted
 * @returns {T[]}
 */
export function preferGranted(codecs, granted) {
  const first = codecs.filter((codec) => isCodec(codec, granted));
  return [...first, ...codecs.filter((codec) => !isCodec(codec, granted))];
}

/**
 * @param {RtpCodec} codec
 * @param {string} name
 */
function isCodec(codec, name) {
  return codec.mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
}

/**
 * First four hex digits of `profile-level-id`: profile and constraints (RFC 6184, 8.1). Only packetization mode 1
 * counts, the one that lets a picture span packets.
 *
 * @param {RtpCodec} codec
 */
function h264Profile(codec) {
  const line = codec.sdpFmtpLine ?? '';
  if (!/packetization-mode=1/.test(line)) return '';
  return (/profile-level-id=([0-9a-f]{4})/i.exec(line)?.[1] ?? '').toLowerCase();
}

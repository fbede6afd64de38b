/** The SDP of an ICE restart over WHEP (RFC 9725, section 4.3.3): fragments of SDP instead of an offer and an answer. */

export const FRAGMENT_TYPE = 'application/trickle-ice-sdpfrag';

/**
 * What of an offer asks for a restart: its ICE credentials, placed by its first media section.
 *
 * @param {string} offer
 * @returns {string}
 */
export function restartFragment(offer) {
  const lines = ['a=ice-ufrag:', 'a=ice-pwd:', 'm=', 'a=mid:'].map((start) => firstLine(offer, start));
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * A former answer with the credentials of the fragment that answered a restart; all else holds as it was agreed.
 *
 * @param {string} answer
 * @param {string} fragment
 * @returns {string}
 */
export function withCredentials(answer, fragment) {
  const [ufrag, password] = ['a=ice-ufrag:', 'a=ice-pwd:'].map((start) => firstLine(fragment, start));
  return answer.replace(/^a=ice-ufrag:.*$/gm, () => ufrag).replace(/^a=ice-pwd:.*$/gm, () => password);
}

/**
 * @param {string} sdp
 * @param {string} start
 * @returns {string}
 */
function firstLine(sdp, start) {
  const line = sdp.split(/\r?\n/).find((candidate) => candidate.startsWith(start));
  if (line === undefined) throw new Error(`no line ${start} in the SDP`);
  return line;
}

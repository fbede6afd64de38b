import assert from 'node:assert/strict';
import { test } from 'node:test';

import { restartFragment, withCredentials } from '../sdk/ice_restart.js';

const OFFER = ['v=0', 'a=group:BUNDLE 0 1', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'a=ice-ufrag:mine', 'a=ice-pwd:my password',
  'a=mid:0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=ice-ufrag:mine', 'a=ice-pwd:my password', 'a=mid:1', ''].join('\r\n');
const ANSWER = OFFER.replaceAll('mine', 'yours').replaceAll('my password', 'your password');

test('a restart is asked for with the credentials and the first section of an offer', () => {
  assert.equal(restartFragment(OFFER), 'a=ice-ufrag:mine\r\na=ice-pwd:my password\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n');
  assert.throws(() => restartFragment('v=0\r\n'), /a=ice-ufrag/);
});

test('an answer gets new credentials in each section and nothing else', () => {
  const fragment = 'a=ice-lite\r\na=ice-ufrag:$&new\r\na=ice-pwd:new password\r\nm=video 9 X 0\r\na=mid:0\r\n';
  const expected = ANSWER.replaceAll('yours', () => '$&new').replaceAll('your password', 'new password');
  assert.equal(withCredentials(ANSWER, fragment), expected);
});

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { parseAddress, withoutSecrets } from '../app/address.js';
import { withoutDrift } from '../app/gamepad.js';
import { chooseLanguage } from '../app/i18n.js';
import { nameInInvitation } from '../app/lobby.js';
import { EN } from '../app/words_en.js';
import { ZH } from '../app/words_zh.js';

const root = new URL('..', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');
const sources = ['app', 'operator', 'sdk'].flatMap((folder) =>
  readdirSync(new URL(folder, root)).map((name) => `${folder}/${name}`));
const pages = ['index.html', 'operator.html'];

test('both languages have the same words, none empty, with the same blanks', () => {
  assert.deepEqual(Object.keys(ZH).toSorted(), Object.keys(EN).toSorted());
  const blanks = (words) => (words.match(/\{\w+\}/g) ?? []).toSorted();
  for (const key of Object.keys(EN)) {
    assert.ok(EN[key] && ZH[key], key);
    assert.deepEqual(blanks(ZH[key]), blanks(EN[key]), key);
  }
});

test('every word a page asks for exists', () => {
  for (const page of pages) {
    for (const [, key] of read(page).matchAll(/data-word(?:-label|-placeholder)?="([^"]+)"/g)) assert.ok(key in EN, `${page}: ${key}`);
  }
});

test('every reason a session can end with has words', () => {
  const reasons = ['left', 'removed', 'moved', 'room_closed', 'schedule_ended', 'connect_timeout', 'connection_lost', 'node_lost', 'edge_lost', 'token_revoked', 'drained', 'shutdown'];
  for (const reason of reasons) assert.ok(EN[`ended.${reason}`] && EN[`ended.${reason}.detail`], reason);
});

test('data never becomes markup or code', () => {
  for (const source of sources) assert.doesNotMatch(read(source), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, source);
  for (const page of pages) {
    assert.match(read(page), /Content-Security-Policy" content="default-src 'self'; script-src 'self'; style-src 'self'/);
    assert.doesNotMatch(read(page), /<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|<style/);
  }
});

test('nothing is loaded from another host', () => {
  for (const page of pages) assert.doesNotMatch(read(page), /(?:src|href)="(?:https?:)?\/\//);
  for (const sheet of readdirSync(new URL('styles', root))) assert.doesNotMatch(read(`styles/${sheet}`), /url\(|@import/, sheet);
});

test('a token is read from fragment or query, and leaves the address', () => {
  assert.equal(parseAddress('https://x/?room=demo#token=abc').token, 'abc');
  assert.equal(parseAddress('https://x/?room=demo&token=abc').token, 'abc');
  assert.equal(withoutSecrets('https://x/?room=demo&token=abc#token=def'), 'https://x/?room=demo');
});

test('a room name that is none is not prefilled, and the frame rate is bounded', () => {
  assert.equal(parseAddress('https://x/?room=<b>').room, '');
  assert.equal(parseAddress('https://x/?fps=9999').maxFps, 120);
  assert.equal(parseAddress('https://x/?fps=x').maxFps, 30);
});

test('the language is the stored one, else the first we speak, else English', () => {
  assert.equal(chooseLanguage('zh', ['en']), 'zh');
  assert.equal(chooseLanguage(null, ['fr', 'zh-TW', 'en']), 'zh');
  assert.equal(chooseLanguage('xx', ['fr']), 'en');
});

test('the name in an invitation is read, whatever its script, and nonsense has none', () => {
  const token = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.y`;
  assert.equal(nameInInvitation(token({ name: '林婉 ü' })), '林婉 ü');
  assert.equal(nameInInvitation(token({})), '');
  assert.equal(nameInInvitation(token({ name: 7 })), '');
  for (const nonsense of ['', 'a.b.c', '..', 'x']) assert.equal(nameInInvitation(nonsense), '');
});

test('a stick at rest does not drift, and full deflection is full speed', () => {
  assert.equal(withoutDrift(0.1), 0);
  assert.equal(withoutDrift(-1), -1);
});

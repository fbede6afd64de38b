/** Words in the visitor's language: one table a language, one switch, elements that follow it. */

import { EN } from './words_en.js';
import { ZH } from './words_zh.js';

/** @typedef {'en' | 'zh'} Language */
/** @typedef {keyof typeof EN} WordKey */

const STORAGE_KEY = 'farstage.language';
/** @type {Record<Language, Record<string, string>>} */
const TABLES = { en: EN, zh: ZH };
const HTML_LANG = { en: 'en', zh: 'zh-CN' };

/** @type {Set<() => void>} */
const followers = new Set();
/** @type {Language} */
let current = 'en';

/**
 * The language to begin with: the stored choice, else the first one of the browser's that we speak.
 *
 * @param {string | null} stored
 * @param {readonly string[]} preferred Language tags (BCP 47).
 * @returns {Language}
 */
export function chooseLanguage(stored, preferred) {
  if (stored === 'en' || stored === 'zh') return stored;
  for (const tag of preferred) {
    if (/^zh\b/i.test(tag)) return 'zh';
    if (/^en\b/i.test(tag)) return 'en';
  }
  return 'en';
}

/** Choose the language and keep the document's `lang` and `data-word` elements in it. */
export function startLanguage() {
  const asked = new URLSearchParams(location.search).get('lang');
  setLanguage(chooseLanguage(asked ?? localStorage.getItem(STORAGE_KEY), navigator.languages));
}

/** @returns {Language} */
export function language() {
  return current;
}

/** @param {Language} next */
export function setLanguage(next) {
  current = next;
  document.documentElement.lang = HTML_LANG[next];
  translateTree(document);
  for (const follow of followers) follow();
}

/** Change to the other language and remember it. */
export function switchLanguage() {
  const next = current === 'en' ? 'zh' : 'en';
  localStorage.setItem(STORAGE_KEY, next);
  setLanguage(next);
}

/**
 * Run now and after each change of language.
 *
 * @param {() => void} follow
 */
export function followLanguage(follow) {
  followers.add(follow);
  follow();
}

/**
 * The words for `key`, `{name}` replaced from `values`.
 *
 * @param {WordKey} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  return TABLES[current][key].replace(/\{(\w+)\}/g, (_whole, name) => String(values[name] ?? ''));
}

/**
 * The words for a key that may not exist (stable names that come over the wire).
 *
 * @param {string} key
 * @returns {string | null}
 */
export function tryT(key) {
  return TABLES[current][key] ?? null;
}

/**
 * Pick a title by language, or whatever there is.
 *
 * @param {Record<string, string>} titles
 * @param {string} fallback
 */
export function localTitle(titles, fallback) {
  return titles[current] ?? titles.en ?? Object.values(titles)[0] ?? fallback;
}

/**
 * Fill elements marked in HTML: `data-word` sets the text, `data-word-label` the accessible name and a
 * button's tooltip, `data-word-placeholder` the placeholder.
 *
 * @param {ParentNode} root
 */
export function translateTree(root) {
  for (const element of root.querySelectorAll('[data-word]')) {
    element.textContent = t(/** @type {WordKey} */ (element.getAttribute('data-word')));
  }
  for (const element of root.querySelectorAll('[data-word-label]')) {
    const words = t(/** @type {WordKey} */ (element.getAttribute('data-word-label')));
    element.setAttribute('aria-label', words);
    if (element instanceof HTMLButtonElement) element.title = words;
  }
  for (const element of root.querySelectorAll('[data-word-placeholder]')) {
    element.setAttribute('placeholder', t(/** @type {WordKey} */ (element.getAttribute('data-word-placeholder'))));
  }
}

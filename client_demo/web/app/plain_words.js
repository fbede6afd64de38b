/** What went wrong, in plain words. */

import { t, tryT } from './i18n.js';

/** @import {Problem} from '../sdk/protocol.js' */

/**
 * @param {Problem} problem
 * @returns {string}
 */
export function problemWords(problem) {
  const slug = problem.type.split(/[:/]/).pop();
  const known = tryT(`problem.${slug}`) ?? tryT(`problem.status.${problem.status}`);
  return known ?? t('problem.other', { title: problem.detail || problem.title });
}

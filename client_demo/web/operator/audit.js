/** The latest entries of the audit log on the desk. */

import { byId } from '../app/dom.js';
import { language, t } from '../app/i18n.js';
import { figure, showRows } from './rows.js';

/** @import {AuditEntry} from './api.js' */
/** @import {RowContent} from './rows.js' */

/** @param {AuditEntry[] | null} entries `null` hides them, for a key that may not see them. */
export function showAudit(entries) {
  byId('op-audit-block').hidden = entries === null;
  showRows(byId('op-audit'), (entries ?? []).map(row), t('op.noAudit'));
}

/**
 * @param {AuditEntry} entry
 * @returns {RowContent}
 */
function row({ entry, at, actor, action, target, status, problem, address }) {
  return {
    key: entry,
    testId: `op-audit-${entry}`,
    name: `${action.split(' ')[0]} ${target}`,
    about: [`${new Date(at).toLocaleString(language())} · ${address}`],
    figures: [figure('op.auditActor', actor), figure('op.auditEnd', problem ? `${status} ${problem}` : String(status))],
    actionsKey: '',
    actions: [],
  };
}

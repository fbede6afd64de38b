/** The webhooks on the desk: where events go, and how they fare. */

import { byId } from '../app/dom.js';
import { language } from '../app/i18n.js';
import { figure, showRows, smallButton, stateMark } from './rows.js';

/** @import {Webhook} from './api.js' */
/** @import {Desk} from './desk.js' */
/** @import {RowContent} from './rows.js' */

/**
 * @param {Desk} desk
 * @param {Webhook[] | null} webhooks `null` hides them, for a key that may not see them.
 */
export function showWebhooks(desk, webhooks) {
  byId('op-webhooks-block').hidden = !webhooks?.length;
  showRows(byId('op-webhooks'), (webhooks ?? []).map((entry) => row(desk, entry)), '');
}

/**
 * @param {Desk} desk
 * @param {Webhook} entry
 * @returns {RowContent}
 */
function row(desk, { webhook, name, url, enabled, disabled_reason: reason, waiting, dead_letters: dead }) {
  return {
    key: webhook,
    testId: `op-webhook-${webhook}`,
    name,
    about: [stateMark(enabled ? 'on' : 'off'), ` · ${url}${reason ? ` · ${reason}` : ''}`],
    figures: [figure('op.eventsWaiting', String(waiting)), figure('op.deadLetters', String(dead))],
    actionsKey: `${language()} ${enabled} ${dead > 0}`,
    actions: [
      smallButton('op.testWebhook', `op-test-${webhook}`, () => void desk.attempt(() => desk.testWebhook(webhook))),
      ...dead > 0 ? [smallButton('op.redeliver', `op-redeliver-${webhook}`, () => void desk.attempt(() => desk.api.redeliver(webhook)))] : [],
      smallButton(enabled ? 'op.switchOff' : 'op.switchOn', `op-switch-${webhook}`,
        () => void desk.attempt(() => desk.api.switchWebhook(webhook, !enabled)), enabled),
    ],
  };
}

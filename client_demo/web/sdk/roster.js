/** Who is in the room, kept up to date from the edge's events. */

/** @import {ExhibitEntry, Mode, Role, RosterEntry, RosterJoined, RosterLeft, RosterMessage, RosterTotal, StageCameraChanged} from './protocol.js' */

/**
 * @typedef {object} RosterState
 * @property {RosterEntry[]} participants In order of arrival; in a large room only those who matter to all.
 * @property {number} total Everybody.
 * @property {ExhibitEntry[]} exhibits
 * @property {string[]} stageCameras
 * @property {string | null} stageCamera The stage camera that is live.
 */

/** @type {RosterState} */
export const EMPTY_ROSTER = { participants: [], total: 0, exhibits: [], stageCameras: [], stageCamera: null };

/**
 * The roster after an event.
 *
 * @param {RosterState} roster
 * @param {RosterMessage | RosterJoined | RosterLeft | RosterTotal | StageCameraChanged} event
 * @returns {RosterState}
 */
export function applyRosterEvent(roster, event) {
  if (event.type === 'roster') {
    const { participants, total, exhibits, stage_cameras: stageCameras, stage_camera: stageCamera } = event;
    return { participants, total, exhibits: exhibits ?? [], stageCameras: stageCameras ?? [], stageCamera: stageCamera ?? null };
  }
  if (event.type === 'stage_camera_changed') return { ...roster, stageCamera: event.camera };
  if (event.type === 'roster_total') return { ...roster, total: event.total };
  const name = event.type === 'roster_joined' ? event.participant.participant : event.participant;
  const index = roster.participants.findIndex((entry) => entry.participant === name);
  const participants = [...roster.participants];
  if (event.type === 'roster_left') {
    if (index >= 0) participants.splice(index, 1);
  } else if (index >= 0) participants[index] = event.participant;
  else participants.push(event.participant);
  return { ...roster, participants, total: event.total };
}

/**
 * Whether somebody of this role is heard in a room of this mode, unless muted (`broker/permissions.py`).
 *
 * @param {Role} role
 * @param {Mode} mode
 */
export function mayBeHeard(role, mode) {
  return role === 'host' || role === 'speaker' || (role === 'visitor' && mode !== 'conference');
}

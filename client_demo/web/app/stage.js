/** A visit: one session on the page, from connecting to its end. */

import { FarstageError } from '../sdk/farstage.js';
import { Banner, secondsUntil } from './banner.js';
import { actionButton, nameButton, pressButton } from './buttons.js';
import { showChoices } from './choices.js';
import { byId } from './dom.js';
import { Door } from './door.js';
import { attachGamepad } from './gamepad.js';
import { showHelp } from './help.js';
import { localTitle, t, tryT } from './i18n.js';
import { attachJoystick } from './joystick.js';
import { attachKeyboard } from './keyboard.js';
import { notice } from './notices.js';
import { showFigures } from './overlay.js';
import { showPeople } from './people.js';
import { Picture } from './picture.js';
import { problemWords } from './plain_words.js';
import { attachPointer } from './pointer.js';
import { recordDelay, recordFrame } from './test_mode.js';

/** @import {Reading} from '../sdk/barcode.js' */
/** @import {Refused, RosterEntry} from '../sdk/protocol.js' */
/** @import {RosterState} from '../sdk/roster.js' */
/** @import {Data, Session, StateDetail} from '../sdk/session.js' */
/** @import {ChatPanel} from './chat.js' */
/** @import {Moderator} from './people.js' */
/** @import {TestProbe} from './test_mode.js' */

const SLOW_PICTURE_MS = 8000;
const MOST_ANNOUNCED = 12;
const RESIZE_PAUSE_MS = 600;
/** Shapes closer than this are the same picture. */
const SHAPE_TOLERANCE = 0.04;
/** Seconds without a picture after which the visitor is told. */
const STALLED_AFTER_S = 2;

export class Stage {
  /**
   * @param {Session} session
   * @param {{banner: Banner, picture: Picture, chat: ChatPanel, probe: TestProbe | null, raiseHand: () => void,
   *   maxFps: number}} parts
   */
  constructor(session, { banner, picture, chat, probe, raiseHand, maxFps }) {
    this.session = session;
    this._maxFps = maxFps;
    this._banner = banner;
    this._picture = picture;
    this._chat = chat;
    this._probe = probe;
    this._life = new AbortController();
    this._hasPicture = false;
    this._secondsWithoutPicture = 0;
    this._shape = innerWidth / innerHeight;
    this._resizeTimer = 0;
    this._connectedAtMs = performance.now();
    /** @type {string | null} */
    this._exhibit = null;
    /** @type {Map<string, RosterEntry> | null} */
    this._known = null;
    this.door = new Door(session, (change) => void this._moderated(change));
    this._listen();
    this._attachControls(raiseHand);
    this._start();
  }

  /** Whether the visitor's own hand is up. */
  get handRaised() {
    return this.session.self?.hand_raised ?? false;
  }

  /** Whether this visitor may choose the stage camera. */
  get directsStage() {
    return this.session.grant.mode === 'conference' && this.session.role === 'host';
  }

  /** Stop everything this visit attached to the page. */
  end() {
    this._life.abort();
    this._picture.detach();
  }

  /** Fill all words anew: the language has changed. */
  refresh() {
    const { grant, statistics } = this.session;
    byId('plate-room').textContent = grant.room;
    byId('plate-mode').textContent = t(`mode.${grant.mode}`);
    showHelp(grant.mode);
    showFigures(statistics, `${grant.edge} · ${grant.region}`);
    this._showRoster(this.session.roster);
  }

  /** Play after the visitor tapped. */
  async play() {
    if (await this._picture.play()) this._enter({ state: this.session.state });
  }

  _start() {
    const { grant } = this.session;
    byId('stage').dataset.mode = grant.mode;
    byId('joystick').hidden = grant.mode !== 'explore' || !matchMedia('(any-pointer: coarse)').matches;
    this.session.watch(this._picture.video, {
      everyFrame: this._probe !== null,
      onFrame: (reading) => this._read(reading),
      onDelay: (delayMs) => this._probe && recordDelay(this._probe, delayMs),
    });
    this.refresh();
    this._enter({ state: this.session.state });
    this._picture.video.requestVideoFrameCallback(() => this._firstPicture());
    void this._begin();
  }

  /** @param {Reading | null} reading */
  _read(reading) {
    if (this._probe) recordFrame(this._probe, reading);
    else if (reading) this._picture.hideCode(this.session.codeShare);
  }

  async _begin() {
    if (await this._picture.attach(this.session)) return;
    this._banner.show({
      title: 'state.tapToPlay',
      actions: [{ word: 'button.play', primary: true, act: () => void this.play() }],
    }, { veil: true });
  }

  _listen() {
    const offs = [
      this.session.on('state', (detail) => this._enter(detail)),
      this.session.on('roster', (roster) => this._rosterChanged(roster)),
      this.session.on('chat', (line) => this._chat.add(line)),
      this.session.on('stats', (statistics) => this._measured(statistics)),
      this.session.on('refused', (refused) => this._refused(refused)),
      this.session.on('data', (data) => this._data(data)),
      this.session.on('waiting', ({ waiting }) => void this.door.changed(waiting)),
      this.session.on('closing', ({ inS }) => notice(t('notice.closing', { minutes: Math.ceil(inS / 60) }))),
      this.session.on('notMoved', ({ problem }) => notice(t('notice.notMoved', { reason: problemWords(problem) }))),
    ];
    const { signal } = this._life;
    signal.addEventListener('abort', () => offs.forEach((off) => off()));
    window.addEventListener('resize', () => {
      clearTimeout(this._resizeTimer);
      this._resizeTimer = setTimeout(() => void this._reshape(), RESIZE_PAUSE_MS);
    }, { signal });
  }

  /** Ask for a picture of the page's new shape once it has settled. */
  async _reshape() {
    const shape = innerWidth / innerHeight;
    if (this._life.signal.aborted || this.session.grant.mode === 'conference') return;
    if (Math.abs(shape / this._shape - 1) < SHAPE_TOLERANCE) return;
    this._shape = shape;
    try {
      await this.session.resize(Picture.viewport(this._maxFps));
    } catch (error) {
      if (!(error instanceof FarstageError) && !this._life.signal.aborted) throw error;
    }
  }

  /** @param {() => void} raiseHand */
  _attachControls(raiseHand) {
    const { input, grant } = this.session;
    const { signal } = this._life;
    attachKeyboard(input, grant.mode, signal);
    attachPointer(this._picture.video, input, grant.mode, signal, () => notice(t('notice.mouseFree')));
    attachJoystick(byId('joystick'), input, signal);
    attachGamepad(input, raiseHand, signal);
  }

  _firstPicture() {
    if (this._life.signal.aborted) return;
    this._hasPicture = true;
    this._picture.fit();
    this._enter({ state: this.session.state });
    notice(t('state.live'));
  }

  /** @param {StateDetail} detail */
  _enter(detail) {
    this._probe?.states.push(detail.state);
    const veil = !this._hasPicture;
    if (detail.state === 'ended') return;
    if (detail.state === 'reconnecting') {
      const left = () => t('state.reconnectingDetail', { seconds: secondsUntil(detail.retryAtMs ?? 0) });
      this._banner.show({ title: 'state.reconnecting', detail: left }, { veil });
    } else if (detail.state === 'replacing') {
      this._banner.show({ title: 'state.replacing', detail: () => t('state.replacingDetail') }, { veil });
    } else if (detail.state === 'connecting') {
      this._banner.show({ title: 'state.connecting' }, { veil });
    } else if (veil) {
      this._connectedAtMs = performance.now();
      this._banner.show({ title: 'state.firstPicture', detail: () => this._patience() }, { veil });
    } else this._banner.hide();
  }

  _patience() {
    return performance.now() - this._connectedAtMs > SLOW_PICTURE_MS ? t('state.slowPicture') : '';
  }

  /** @param {import('../sdk/statistics.js').Statistics} statistics */
  _measured(statistics) {
    const { grant } = this.session;
    showFigures(statistics, `${grant.edge} · ${grant.region}`);
    if (!this._probe) this._picture.hideCode(this.session.codeShare);
    this._watchForStall(statistics);
  }

  /**
   * A picture that stands still is told, except in a gallery, where it rests.
   *
   * @param {import('../sdk/statistics.js').Statistics} statistics
   */
  _watchForStall({ framesPerS }) {
    if (this.session.state !== 'live' || this.session.grant.mode === 'gallery') return;
    const wasStalled = this._secondsWithoutPicture >= STALLED_AFTER_S;
    this._secondsWithoutPicture = framesPerS ? 0 : this._secondsWithoutPicture + 1;
    const isStalled = this._secondsWithoutPicture >= STALLED_AFTER_S;
    if (isStalled && !wasStalled) this._banner.show({ title: 'state.stalled' }, { veil: false });
    if (wasStalled && !isStalled) this._banner.hide();
  }

  /** @param {Refused} refused */
  _refused(refused) {
    notice(tryT(`notice.refused.${refused.reason}`) ?? refused.detail ?? refused.reason);
  }

  /** @param {Data} data The topic `notice` is for people, all others are for programs. */
  _data({ topic, value }) {
    if (topic === 'notice' && typeof value === 'string') notice(value);
  }

  /** @param {RosterState} roster */
  _rosterChanged(roster) {
    this._announce(roster);
    this._showRoster(roster);
  }

  /** @param {RosterState} roster */
  _announce(roster) {
    const before = this._known;
    this._known = new Map(roster.participants.map((entry) => [entry.participant, entry]));
    this._announceOwn(before?.get(this.session.participant), this.session.self);
    if (!before || roster.total > MOST_ANNOUNCED) return;
    for (const [participant, entry] of this._known) {
      if (participant === this.session.participant) continue;
      if (!before.has(participant)) notice(t('notice.joined', { name: entry.display_name }));
      else if (entry.hand_raised && !before.get(participant)?.hand_raised) notice(t('notice.someoneHand', { name: entry.display_name }));
    }
    for (const [participant, entry] of before) {
      if (!this._known.has(participant)) notice(t('notice.left', { name: entry.display_name }));
    }
  }

  /**
   * What a host has done to oneself.
   *
   * @param {RosterEntry | undefined} before
   * @param {RosterEntry | null} now
   */
  _announceOwn(before, now) {
    if (!before || !now) return;
    if (before.muted !== now.muted) notice(t(now.muted ? 'notice.mutedByHost' : 'notice.unmutedByHost'));
    if (before.role !== now.role) notice(t('notice.roleChanged', { role: t(`role.${now.role}`) }));
  }

  /** Hosts only: nobody but hosts is heard until unmuted. */
  muteAll() {
    const muted = this.session.host.muteAll().then((count) => notice(t('door.mutedAll', { count })));
    void this._moderated(muted);
  }

  /** @returns {Moderator | null} */
  _moderator() {
    if (this.session.role !== 'host') return null;
    return {
      mode: this.session.grant.mode,
      change: (participant, change) => void this._moderated(this.session.host.changeParticipant(participant, change)),
      remove: (participant) => void this._moderated(this.session.host.removeParticipant(participant)),
    };
  }

  /** @param {Promise<void>} change */
  async _moderated(change) {
    try {
      await change;
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
      notice(t('notice.notDone', { reason: error.message }));
    }
  }

  /** @param {RosterState} roster */
  _showRoster(roster) {
    const { session } = this;
    showPeople(roster, session.participant, this._moderator());
    this.door.show();
    actionButton('microphone').dataset.heard = String(session.heard);
    pressButton('hand', this.handRaised);
    nameButton('hand', this.handRaised ? 'button.handDown' : 'button.hand');
    const exhibits = roster.exhibits.map((entry) => ({ name: entry.exhibit, title: localTitle(entry.title, entry.exhibit) }));
    actionButton('exhibits').hidden = session.grant.mode !== 'gallery' || exhibits.length === 0;
    actionButton('cameras').hidden = !this.directsStage || roster.stageCameras.length === 0;
    showChoices('exhibit-picker', exhibits, this._exhibit ?? exhibits[0]?.name ?? null, (name) => this._chooseExhibit(name));
    const cameras = roster.stageCameras.map((name) => ({ name, title: tryT(`camera.${name}`) ?? name.replaceAll(/[_-]/g, ' ') }));
    showChoices('camera-picker', cameras, roster.stageCamera, (name) => this._chooseCamera(name));
  }

  /** @param {string} name */
  _chooseExhibit(name) {
    if (!this.session.selectExhibit(name)) return notice(t('notice.notSent'));
    this._exhibit = name;
    return this._showRoster(this.session.roster);
  }

  /** @param {string} name */
  _chooseCamera(name) {
    if (!this.session.stageCamera(name)) notice(t('notice.notSent'));
  }
}

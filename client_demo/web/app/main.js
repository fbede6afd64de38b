/** The visitor page: entrance, visit, end, and the buttons and keys that lead from one to the next. */

import { FarstageError, join, resume } from '../sdk/farstage.js';
import { MAX_ADMISSION_TRIES, classify } from '../sdk/reconnect.js';
import { takeAddress } from './address.js';
import { Banner, secondsUntil } from './banner.js';
import { actionButton, nameButton, pressButton } from './buttons.js';
import { ChatPanel } from './chat.js';
import { byId, isTyping } from './dom.js';
import { followLanguage, startLanguage, switchLanguage, t } from './i18n.js';
import { icon, setIcon } from './icons.js';
import { Lobby } from './lobby.js';
import { Microphone } from './microphone.js';
import { notice } from './notices.js';
import { Panels } from './panels.js';
import { Picture } from './picture.js';
import { problemWords } from './plain_words.js';
import { Stage } from './stage.js';
import { createProbe } from './test_mode.js';
import { forgetVisit, keepVisit, keptVisit } from './visit.js';

/** @import {Progress, Session} from '../sdk/farstage.js' */
/** @import {EndDetail} from '../sdk/session.js' */
/** @import {WordKey} from './i18n.js' */
/** @import {Entry} from './lobby.js' */

/** @type {Record<string, string>} Letters to actions; they work wherever nobody is typing. */
const SHORTCUTS = {
  KeyH: 'hand', KeyM: 'mute', KeyV: 'microphone', KeyC: 'chat', KeyP: 'people', KeyI: 'stats', KeyF: 'fullscreen', KeyE: 'choices',
};

class VisitorPage {
  constructor() {
    this._address = takeAddress();
    this._probe = this._address.test ? createProbe() : null;
    this._banner = new Banner();
    this._picture = new Picture();
    this._panels = new Panels();
    this._microphone = new Microphone();
    this._chat = new ChatPanel((text) => this._sendChat(text));
    this._lobby = new Lobby(this._address, (entry) => void this._enter(entry));
    /** @type {Stage | null} */
    this._stage = null;
    this._invited = false;
    /** Whether the visitor waits for a place. */
    this._waiting = false;
    /** @type {AbortController | null} */
    this._joining = null;
    /** @type {Record<string, () => void>} */
    this._actions = {
      language: switchLanguage,
      stats: () => this._toggleFigures(),
      help: () => this._panels.toggle('help'),
      people: () => this._panels.toggle('people'),
      chat: () => this._panels.toggle('chat'),
      exhibits: () => this._panels.toggle('exhibits'),
      cameras: () => this._panels.toggle('cameras'),
      choices: () => this._toggleChoices(),
      hand: () => this._toggleHand(),
      microphone: () => void this._toggleMicrophone(),
      mute: () => this._toggleSound(),
      fullscreen: () => void toggleFullscreen(),
      admitAll: () => this._stage?.door.admitAll(),
      muteAll: () => this._stage?.muteAll(),
      leave: () => void this._leave(),
    };
    this._wire();
  }

  /** Show the entrance, or go straight in. */
  start() {
    if (!('RTCPeerConnection' in window)) return this._showEnd('problem.heading', () => t('problem.unsupported'));
    const visit = this._address.token === null ? keptVisit(this._address.room) : null;
    if (visit) return void this._return(visit);
    if (this._address.autojoin && this._lobby.submit()) return undefined;
    return this._lobby.show();
  }

  /**
   * Go on with the visit of the page before this one was loaded.
   *
   * @param {import('./visit.js').Visit} visit
   */
  async _return({ grant, entry, broker }) {
    this._banner.show({ title: 'state.returning' }, { veil: true });
    try {
      const viewport = Picture.viewport(this._address.maxFps);
      this._begin(await resume(grant, { broker, viewport }), entry, { invited: true });
    } catch (error) {
      if (!(error instanceof FarstageError)) throw error;
      this._forgetInvitation();
      this._backToLobby();
    }
  }

  _wire() {
    for (const button of document.querySelectorAll('[data-icon]')) button.append(icon(button.getAttribute('data-icon') ?? ''));
    document.addEventListener('click', (event) => {
      const button = event.target instanceof Element ? event.target.closest('[data-action]') : null;
      if (button) this._actions[button.getAttribute('data-action') ?? '']();
    });
    window.addEventListener('keydown', (event) => this._key(event));
    window.addEventListener('pagehide', () => this._goAway());
    this._picture.video.addEventListener('volumechange', () => this._markSound());
    followLanguage(() => this._stage?.refresh());
    this._panels.onOpen = (name) => { if (name === 'chat') delete actionButton('chat').dataset.badge; };
  }

  /** The page is closed or loaded anew. Guests leave at once; an invited visitor's place waits a while for them. */
  _goAway() {
    const session = this._stage?.session;
    if (this._invited) session?.abandon();
    else void session?.leave();
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.key === 'Escape') return this._waiting ? this._cancelJoin() : this._panels.close();
    if (!this._stage || isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return undefined;
    const action = event.key === '?' ? 'help' : SHORTCUTS[event.code];
    if (!action) return undefined;
    event.preventDefault();
    return this._actions[action]();
  }

  /** @param {Entry} entry */
  async _enter(entry) {
    this._lobby.hide();
    byId('stage').hidden = true;
    this._joining = new AbortController();
    try {
      const session = await join({
        broker: this._address.broker ?? location.origin,
        room: entry.room,
        token: this._address.token,
        displayName: entry.name,
        viewport: Picture.viewport(this._address.maxFps),
        signal: this._joining.signal,
        onProgress: (progress) => this._showProgress(progress),
      });
      this._begin(session, entry, { invited: this._address.token !== null });
    } catch (error) {
      if (this._joining.signal.aborted) return this._lobby.show();
      this._refusedEntry(error, entry);
    }
    return undefined;
  }

  /**
   * @param {unknown} error
   * @param {Entry} entry
   */
  _refusedEntry(error, entry) {
    const words = () => error instanceof FarstageError ? problemWords(error.problem) : t('problem.other', { title: String(error) });
    const hopeless = error instanceof FarstageError && classify(error) === 'final';
    this._showEnd('problem.heading', words, hopeless ? undefined : entry, 'button.retry');
  }

  /** @param {Progress} progress */
  _showProgress({ phase, retryAtMs = 0, attempt = 0, problem, cause, position, estimatedWaitS }) {
    this._waiting = phase === 'waiting';
    if (phase !== 'waiting') return this._banner.show({ title: `state.${phase}` }, { veil: true });
    if (cause === 'door') return this._showDoor(position ?? 0);
    if (cause === 'queue') return this._showQueue(position ?? 0, estimatedWaitS ?? null);
    if (problem?.type.endsWith(':room-not-open')) return this._showOpening(problem.retry_after_s ?? 0);
    const full = problem !== undefined && /:(room-full|role-full|farm-full)$/.test(problem.type);
    const detail = () => t(full ? 'state.waitingFullDetail' : 'state.waitingTransientDetail', {
      seconds: secondsUntil(retryAtMs), attempt, max: MAX_ADMISSION_TRIES,
    });
    return this._banner.show({
      title: full ? 'state.waitingFull' : 'state.waitingTransient',
      detail,
      actions: [{ word: 'button.cancel', act: () => this._cancelJoin() }],
    }, { veil: true });
  }

  /** @param {number} position */
  _showDoor(position) {
    this._banner.show({
      title: 'state.waitingDoor',
      detail: () => t(position > 1 ? 'state.waitingDoorDetail' : 'state.waitingDoorNext', { ahead: position - 1 }),
      actions: [{ word: 'button.cancel', act: () => this._cancelJoin() }],
    }, { veil: true });
  }

  /**
   * @param {number} position
   * @param {number | null} estimatedWaitS
   */
  _showQueue(position, estimatedWaitS) {
    const ahead = () => t(position > 1 ? 'state.queueDetail' : 'state.queueNext', { ahead: position - 1 });
    const minutes = Math.max(1, Math.round((estimatedWaitS ?? 0) / 60));
    const estimate = () => estimatedWaitS === null ? '' : ` ${t(estimatedWaitS < 60 ? 'state.queueSoon' : 'state.queueEstimate', { minutes })}`;
    this._banner.show({
      title: 'state.waitingFull',
      detail: () => ahead() + estimate(),
      actions: [{ word: 'button.cancel', act: () => this._cancelJoin() }],
    }, { veil: true });
  }

  /** @param {number} opensInS */
  _showOpening(opensInS) {
    const time = new Date(Date.now() + opensInS * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
    this._banner.show({
      title: 'state.waitingOpening',
      detail: () => t('state.waitingOpeningDetail', { time }),
      actions: [{ word: 'button.cancel', act: () => this._cancelJoin() }],
    }, { veil: true });
  }

  _cancelJoin() {
    this._joining?.abort();
    this._waiting = false;
    this._banner.hide();
  }

  /**
   * @param {Session} session
   * @param {Entry} entry
   * @param {{invited: boolean}} how
   */
  _begin(session, entry, { invited }) {
    this._invited = invited;
    if (invited) {
      const keep = () => keepVisit({ grant: session.grant, entry, broker: this._address.broker ?? location.origin });
      keep();
      session.on('state', ({ state }) => state !== 'ended' && keep());
    }
    if (this._probe) this._probe.session = session;
    document.documentElement.classList.add('in-stage');
    byId('stage').hidden = false;
    this._chat.clear();
    this._stage = new Stage(session, {
      banner: this._banner, picture: this._picture, chat: this._chat, probe: this._probe, raiseHand: () => this._toggleHand(),
      maxFps: this._address.maxFps,
    });
    session.on('moved', ({ session: next }) => this._moved(next, entry));
    session.on('ended', (detail) => this._stage?.session === session && this._ended(detail, entry));
    session.on('chat', (line) => this._badge(line.display_name, line.text));
    this._picture.video.muted = !Picture.mayHaveSound;
    this._markSound();
    this._picture.video.focus({ preventScroll: true });
  }

  /**
   * An operator has sent the visitor to another room: the visit goes on there.
   *
   * @param {Session} session
   * @param {Entry} entry
   */
  _moved(session, entry) {
    this._stage?.end();
    const { room } = session.grant;
    const address = new URL(location.href);
    address.searchParams.set('room', room);
    history.replaceState(null, '', address);
    this._address.room = room;
    this._begin(session, { ...entry, room }, { invited: this._invited });
    notice(t('notice.moved', { room }));
  }

  /**
   * @param {EndDetail} detail
   * @param {Entry} entry
   */
  _ended({ reason, problem }, entry) {
    this._stage?.end();
    this._stage = null;
    if (this._invited) this._forgetInvitation();
    this._panels.close();
    byId('notices').replaceChildren();
    this._microphone.close();
    this._markMicrophone();
    if (document.fullscreenElement) void document.exitFullscreen();
    byId('stage').hidden = true;
    document.documentElement.classList.remove('in-stage');
    const detail = () => reason === 'refused' ? (problem ? problemWords(problem) : '') : t(`ended.${reason}.detail`);
    const again = this._invited || reason === 'removed' || reason === 'room_closed' ? undefined : entry;
    this._showEnd(`ended.${reason}`, detail, again, 'button.rejoin');
  }

  /**
   * @param {WordKey} title
   * @param {() => string} detail In the language of the moment.
   * @param {Entry} [entry] With it, one can try again.
   * @param {WordKey} [again]
   */
  _showEnd(title, detail, entry, again = 'button.retry') {
    const back = { word: /** @type {WordKey} */ ('button.lobby'), act: () => this._backToLobby() };
    const retry = entry ? [{ word: again, primary: true, act: () => void this._enter(entry) }] : [];
    this._banner.show({ title, detail, tone: 'ended', actions: [...retry, back] }, { veil: true });
  }

  /** It let one person in once; from now on the visitor is a guest like any other. */
  _forgetInvitation() {
    forgetVisit();
    this._address.token = null;
    this._lobby.forgetInvitation();
  }

  _backToLobby() {
    this._banner.hide();
    this._lobby.show();
  }

  async _leave() {
    await this._stage?.session.leave();
  }

  /** @param {string} text */
  _sendChat(text) {
    const sent = this._stage?.session.chat(text) ?? false;
    if (!sent && text.trim()) notice(t('notice.notSent'));
    return sent;
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  _badge(name, text) {
    if (this._panels.open === 'chat') return;
    const button = actionButton('chat');
    button.dataset.badge = String(Math.min(99, Number(button.dataset.badge ?? 0) + 1));
    notice(`${name}: ${text}`);
  }

  _toggleChoices() {
    const mode = this._stage?.session.grant.mode;
    if (mode === 'gallery') this._panels.toggle('exhibits');
    else if (this._stage?.directsStage) this._panels.toggle('cameras');
  }

  _toggleHand() {
    if (!this._stage) return;
    if (this._stage.session.role === 'spectator') return notice(t('notice.spectator'));
    const raised = !this._stage.handRaised;
    const sent = this._stage.session.raiseHand(raised);
    return notice(t(sent ? (raised ? 'notice.handUp' : 'notice.handDown') : 'notice.notSent'));
  }

  _toggleSound() {
    this._picture.video.muted = !this._picture.video.muted;
    this._markSound();
  }

  _markSound() {
    const { video } = this._picture;
    nameButton('mute', video.muted ? 'button.unmute' : 'button.mute');
    setIcon(actionButton('mute'), video.muted ? 'soundOff' : 'soundOn');
  }

  async _toggleMicrophone() {
    const session = this._stage?.session;
    if (!session) return;
    if (!session.heard) notice(t(session.muted ? 'notice.mutedByHost' : session.role === 'spectator' ? 'notice.spectator' : 'notice.askForFloor'));
    if (this._microphone.track || !session.heard) this._microphone.close();
    else {
      try {
        await this._microphone.open();
      } catch (error) {
        if (!(error instanceof DOMException)) throw error;
        notice(t('notice.noMicrophone', { reason: error.message || error.name }));
      }
    }
    await session.setMicrophone(this._microphone.track);
    this._markMicrophone();
  }

  _markMicrophone() {
    const speaking = this._microphone.track !== null;
    pressButton('microphone', speaking);
    nameButton('microphone', speaking ? 'button.microphoneOff' : 'button.microphone');
  }

  _toggleFigures() {
    const overlay = byId('stats-overlay');
    overlay.hidden = !overlay.hidden;
    pressButton('stats', !overlay.hidden);
  }
}

async function toggleFullscreen() {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen({ navigationUI: 'hide' });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

startLanguage();
new VisitorPage().start();

/**
 * The messages of `broker/protocol/` a browser meets, as JSDoc types. Units stand in the names; angles are radians,
 * positive yaw turns left. Only types and the few constants a client must share live here.
 */

/** @typedef {'explore' | 'gallery' | 'conference'} Mode What a room is for; it decides whose camera one sees. */
/** @typedef {'host' | 'speaker' | 'visitor' | 'spectator'} Role */
/** @typedef {{role?: Role, muted?: boolean}} ParticipantChange Body of `PATCH …/participants/{participant}`. */
/** @typedef {'H264' | 'VP8'} Codec */
/**
 * @typedef {'left' | 'removed' | 'moved' | 'room_closed' | 'schedule_ended' | 'connect_timeout' | 'connection_lost' | 'node_lost' | 'edge_lost'
 *   | 'token_revoked' | 'drained' | 'shutdown'} EndReason Why a session ended; exactly one applies.
 */

/**
 * @typedef {object} Problem An error as `application/problem+json` (RFC 9457); `type` is stable.
 * @property {string} type
 * @property {string} title
 * @property {number} status
 * @property {string} [detail]
 * @property {number} [retry_after_s]
 */

/** @typedef {{edge: string, region: string, probe_url: string}} ProbeTarget An edge to measure before joining. */
/**
 * @typedef {object} Probe What was measured to one edge.
 * @property {string} edge
 * @property {number} rtt_ms
 * @property {number} jitter_ms
 * @property {number} loss Share of tries without an answer.
 * @property {number | null} bandwidth_bps
 */
/** @typedef {{width: number, height: number, max_fps?: number}} Viewport The picture area in device pixels. */
/** @typedef {{codec: Codec, profiles: string[]}} VideoCapability */
/**
 * @typedef {object} JoinRequest Body of `POST /v1/rooms/{room}/join`.
 * @property {string} [display_name]
 * @property {Probe[]} probes
 * @property {VideoCapability[]} codecs
 * @property {Viewport} viewport
 * @property {boolean} [wait_when_full] Wait for one's turn instead of being refused.
 */
/**
 * @typedef {object} JoinGrant A placed session.
 * @property {string} session
 * @property {string} room
 * @property {string} participant
 * @property {string} display_name
 * @property {Role} role
 * @property {Mode} mode
 * @property {string} scene
 * @property {string} edge
 * @property {string} region
 * @property {string} whep_url
 * @property {string} session_token
 * @property {string} expires_at
 * @property {string} stream
 * @property {Codec} codec
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 */

/**
 * @typedef {object} WaitingTicket A turn: before the door of a room with a waiting room, or for a place where all is full.
 * @property {string} ticket
 * @property {'waiting' | 'admitted' | 'joined' | 'refused' | 'expired' | 'left' | 'room_closed'} state
 * @property {number | null} position 1 is next.
 * @property {'host' | 'capacity'} waits_for
 * @property {number | null} estimated_wait_s Of a queue for a place, once its pace is known.
 * @property {string} poll_url
 * @property {string} [token] In the join's answer only.
 */

/**
 * @typedef {object} Input The state of the visitor's hands; states and running totals, never differences.
 * @property {'input'} type
 * @property {number} seq
 * @property {number} move_x Right (+) or left (-), share of full speed.
 * @property {number} move_z Forward (+) or back (-).
 * @property {number} yaw
 * @property {number} pitch
 * @property {number} zoom
 * @property {boolean} run
 */
/** @typedef {{type: 'raise_hand', raised: boolean}} RaiseHand */
/** @typedef {{type: 'select_exhibit', exhibit: string}} SelectExhibit */
/** @typedef {{type: 'stage_camera', camera: string}} StageCamera */
/** @typedef {{type: 'chat', text: string}} Chat */
/** @typedef {{type: 'ping', id: number}} Ping */
/**
 * @typedef {object} ClientReport The decode statistics of the last second.
 * @property {'client_report'} type
 * @property {number | null} [frames_per_s]
 * @property {number | null} [frames_dropped]
 * @property {number | null} [freezes]
 * @property {number | null} [jitter_buffer_ms]
 * @property {number | null} [decode_ms]
 * @property {number | null} [input_to_photon_ms]
 * @property {number | null} [width]
 * @property {number | null} [height]
 */
/** @typedef {RaiseHand | SelectExhibit | StageCamera | Chat | Ping | ClientReport} ControlMessage */

/**
 * @typedef {object} RosterEntry One person as the others see them.
 * @property {string} participant
 * @property {string} display_name
 * @property {Role} role
 * @property {boolean} muted
 * @property {boolean} hand_raised
 * @property {number | null} [seat]
 */
/** @typedef {{exhibit: string, title: Record<string, string>}} ExhibitEntry Titles by language tag. */
/**
 * @typedef {object} RosterMessage
 * @property {'roster'} type
 * @property {RosterEntry[]} participants
 * @property {number} total
 * @property {ExhibitEntry[]} exhibits
 * @property {string[]} stage_cameras
 * @property {string | null} [stage_camera] The one that is live.
 */
/** @typedef {{type: 'roster_joined', participant: RosterEntry, total: number}} RosterJoined */
/** @typedef {{type: 'roster_left', participant: string, total: number}} RosterLeft */
/** @typedef {{type: 'roster_total', total: number}} RosterTotal */
/** @typedef {{type: 'stage_camera_changed', camera: string}} StageCameraChanged */
/** @typedef {{type: 'chat_line', participant: string, display_name: string, text: string}} ChatLine */
/** @typedef {{type: 'pong', id: number}} Pong */
/** @typedef {{type: 'source_state', state: 'connecting' | 'live' | 'replacing' | 'ended'}} SourceState */
/** @typedef {{type: 'refused', reason: string, detail: string}} Refused */
/**
 * @typedef {object} RoomData What a host (`sender`) or an operator sends to the clients: any JSON, or base64.
 * @property {'room_data'} type
 * @property {string} topic
 * @property {unknown} [value]
 * @property {string} [binary]
 * @property {string | null} sender
 */
/** @typedef {{type: 'move_to', room: string, token: string, within_s: number}} MoveTo Join there; this session then ends. */
/** @typedef {{type: 'waiting_changed', waiting: number}} WaitingChanged To hosts: how many wait to be let in. */
/** @typedef {{type: 'room_closing', in_s: number}} RoomClosing The room's schedule ends. */
/** @typedef {{type: 'ended', reason: EndReason}} Ended */
/** @typedef {RosterMessage | RosterJoined | RosterLeft | RosterTotal | StageCameraChanged | ChatLine | Pong | SourceState | Refused | RoomData | WaitingChanged | RoomClosing | MoveTo | Ended} ClientEvent */

export const CHANNEL_INPUT = 'input';
export const CHANNEL_CONTROL = 'control';
export const MAX_CHAT_CHARACTERS = 280;
export const MAX_DISPLAY_NAME_CHARACTERS = 48;
export const MAX_PROBES = 16;
/** Most milliseconds any `_ms` field of the protocol may hold. */
export const MAX_MILLISECONDS = 60_000;
/** What room, scene and exhibit names look like. */
export const IDENTIFIER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

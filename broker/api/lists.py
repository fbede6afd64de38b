"""Handlers of the lists of rooms, participants and sessions: filters and pages."""

from aiohttp import web
from msgspec import UNSET

from broker.api.bodies import json_response
from broker.api.keys import CONTROLLER
from broker.api.listing import Key, holds, page, read_query
from broker.api.presentation import show_participant, show_room, show_session
from broker.api.principal import principal_of
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import (
    ParticipantList,
    ParticipantQuery,
    RoomList,
    RoomQuery,
    SessionList,
    SessionQuery,
)


async def list_rooms(request: web.Request) -> web.Response:
    """The rooms that match, by name."""
    state, query = request.app[CONTROLLER].brain.state, read_query(request, RoomQuery)
    reaches = principal_of(request).reaches
    wanted = [entry.partition("=")[::2] for entry in query.metadata]
    matching = (r for r in state.rooms.values() if reaches(r.room) and _is_room_wanted(r, query, wanted))
    rooms, cursor = page("rooms", matching, _by_name, query)
    return json_response(RoomList(rooms=[show_room(room) for room in rooms], next_cursor=cursor))


def _by_name(room: RoomRecord) -> Key:
    return (room.room,)


def _is_room_wanted(room: RoomRecord, query: RoomQuery, metadata: list[tuple[str, str]]) -> bool:
    return (
        holds(query.mode, room.mode)
        and holds(query.scene, room.scene)
        and holds(query.open, room.open)
        and holds(query.locked, room.locked)
        and holds(query.node, room.node)
        and holds(query.has_participants, bool(room.sessions))
        and (query.name_prefix is UNSET or room.room.startswith(query.name_prefix))
        and all(room.metadata.get(key) == value for key, value in metadata)
    )


async def list_participants(request: web.Request) -> web.Response:
    """The participants of a room who match, in order of joining."""
    state, query = request.app[CONTROLLER].brain.state, read_query(request, ParticipantQuery)
    room = state.room(request.match_info["room"])
    sessions = (state.sessions[name] for name in room.sessions)
    matching = (session for session in sessions if _is_session_wanted(session, query))
    shown, cursor = page(f"participants of {room.room}", matching, _by_joining, query)
    people = [show_participant(state, session) for session in shown]
    return json_response(ParticipantList(participants=people, next_cursor=cursor))


async def list_sessions(request: web.Request) -> web.Response:
    """The sessions of all rooms that match, in order of joining."""
    state, query = request.app[CONTROLLER].brain.state, read_query(request, SessionQuery)
    reached = filter(lambda session: principal_of(request).reaches(session.room), state.sessions.values())
    matching = (s for s in reached if _is_session_wanted(s, query) and _is_where(state, s, query))
    shown, cursor = page("sessions", matching, _by_joining, query)
    return json_response(SessionList(sessions=[show_session(state, s) for s in shown], next_cursor=cursor))


def _by_joining(session: SessionRecord) -> Key:
    return (session.joined_at, session.session)


def _is_session_wanted(session: SessionRecord, query: ParticipantQuery) -> bool:
    return (
        holds(query.role, session.role)
        and holds(query.state, session.state)
        and holds(query.edge, session.edge)
        and holds(query.identity, session.identity)
        and holds(query.hand_raised, session.hand_raised)
    )


def _is_where(state: State, session: SessionRecord, query: SessionQuery) -> bool:
    return holds(query.room, session.room) and holds(query.node, state.views[session.view].node)

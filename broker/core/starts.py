"""Late starts: a node that took a view, says nothing of failure, and sends no picture either.

A view nobody watches, or whose picture comes from a publisher, is not drawn, so the clock runs only while a viewer is
connected and no publisher is, and only while the node is.
"""

from broker.core import publishing, sessions, views
from broker.core.state import NodeRecord, State, ViewRecord
from broker.protocol import EndReason


def find_late(state: State, now: float) -> None:
    """Place views elsewhere whose node has not begun to draw them in time."""
    for view in [view for view in state.views.values() if not view.started]:
        node = state.nodes.get(view.node) if view.node is not None else None
        if node is None or not node.connected or not _is_awaited(state, view):
            view.start_by = None
        elif view.start_by is None:
            view.start_by = now + state.settings.start_timeout_s
        elif now >= view.start_by and view.view in state.views:
            _too_late(state, view, node, now)


def _is_awaited(state: State, view: ViewRecord) -> bool:
    if publishing.is_on_air(state, view):
        return False
    return any(session.connected for session in views.view_sessions(state, view))


def _too_late(state: State, view: ViewRecord, node: NodeRecord, now: float) -> None:
    """Counts as a try. Where there is no other node the same one gets more time: a big scene may still be loading."""
    view.start_by = None
    if views.has_home_elsewhere(state, view):
        sessions.view_failed(state, view, node, now)
        return
    view.tries += 1
    if view.tries > state.settings.max_placement_tries:
        sessions.end_view(state, view, EndReason.NODE_LOST)

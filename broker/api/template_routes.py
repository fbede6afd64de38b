"""Handlers of templates."""

import msgspec
from aiohttp import web

from broker.api.bodies import json_response, read_body
from broker.api.keys import CONTROLLER
from broker.api.listing import Key, page, read_query
from broker.api.principal import principal_of
from broker.api.problems import malformed
from broker.api.rooms import require_store
from broker.api.schedules import changed_schedule
from broker.api.templates import TemplateRecord
from broker.api.timestamps import rfc3339
from broker.core.schedule import Schedule
from broker.protocol import Identifier, PageQuery, RoomSettings, Template, TemplateList


def show_template(record: TemplateRecord) -> Template:
    """A template."""
    return Template(template=record.template, settings=record.settings, changed_at=rfc3339(record.changed_at))


def _name(request: web.Request) -> str:
    """The template that the path names, if the asker reaches it. Raises `ApiError`."""
    try:
        name = msgspec.convert(request.match_info["template"], Identifier)
    except msgspec.ValidationError as error:
        raise malformed(f"{error} - in the path") from error
    principal_of(request).require_room(name)
    return name


async def put_template(request: web.Request) -> web.Response:
    """Make a template, or replace it."""
    controller, name = request.app[CONTROLLER], _name(request)
    body = await read_body(request, RoomSettings)
    require_store(controller)
    unix_now = controller.unix_now()
    changed_schedule(Schedule(), body, unix_now, controller.now())
    record = await controller.change(lambda: controller.templates.keep(name, body, unix_now))
    return json_response(show_template(record))


async def get_template(request: web.Request) -> web.Response:
    """One template."""
    return json_response(show_template(request.app[CONTROLLER].templates.get(_name(request))))


async def list_templates(request: web.Request) -> web.Response:
    """The templates the asker reaches, by name."""
    query, reaches = read_query(request, PageQuery), principal_of(request).reaches
    records = request.app[CONTROLLER].templates.records.values()
    shown, cursor = page("templates", (record for record in records if reaches(record.template)), _by_name, query)
    return json_response(TemplateList(templates=[show_template(record) for record in shown], next_cursor=cursor))


def _by_name(record: TemplateRecord) -> Key:
    return (record.template,)


async def delete_template(request: web.Request) -> web.Response:
    """Forget a template; rooms made from it stay as they are."""
    controller, name = request.app[CONTROLLER], _name(request)
    require_store(controller)
    controller.templates.get(name)
    await controller.change(lambda: controller.templates.drop(name))
    return web.Response(status=204)

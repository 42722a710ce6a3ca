"""What tests ask of the plane itself, over HTTP: faults, what was deployed, what runs, what was called."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.modal_plane.containers import Container
from tests.support.modal_plane.names import known

if TYPE_CHECKING:
    from tests.support.modal_plane.server import World


class Control:
    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/control/faults", self.add_fault),
            web.get("/control/faults", self.list_faults),
            web.delete("/control/faults", self.clear_faults),
            web.get("/control/definitions", self.definitions),
            web.get("/control/containers", self.containers),
            web.post("/control/containers/{task_id}/end", self.end),
            web.get("/control/journal", self.journal),
            web.get("/control/apps", self.apps),
            web.get("/control/logs", self.logs),
            web.get("/control/file", self.file),
            web.post("/control/settings", self.settings),
        ]

    async def add_fault(self, request: web.Request) -> web.Response:
        self.world.faults.add(await request.json())
        return web.json_response({})

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self.world.faults.listed())

    async def clear_faults(self, request: web.Request) -> web.Response:
        self.world.faults.clear()
        return web.json_response({})

    async def definitions(self, request: web.Request) -> web.Response:
        """Every function of a deployed app as it was deployed, with names for ids."""
        app = self.world.apps.deployed(request.query["app"], request.query.get("environment", ""))
        if app is None or app.live is None:
            return web.json_response({})
        return web.json_response(
            {
                name: self._described(app.live.definition_ids[function_id], function_id)
                for name, function_id in app.live.function_ids.items()
            }
        )

    def _described(self, definition_id: str, function_id: str) -> dict[str, Any]:
        world = self.world
        definition = world.functions.get(function_id).definitions[definition_id]
        volumes = [
            {
                "name": world.volumes.named.get(mount.volume_id).name,
                "version": world.volumes.named.get(mount.volume_id).version,
                "path": mount.mount_path,
                "read_only": mount.read_only,
                "sub_path": mount.sub_path,
            }
            for mount in definition.volume_mounts
        ]
        secrets = [world.objects.secrets.get(secret_id) for secret_id in definition.secret_ids]
        return {
            "function_id": function_id,
            "proto": base64.b64encode(definition.SerializeToString()).decode(),
            "volumes": volumes,
            "secrets": [secret.name for secret in secrets if secret.name],
            "env": {key: value for secret in secrets if not secret.name for key, value in secret.values.items()},
            "image": world.images.commands(definition.image_id),
            "image_env": world.images.env(definition.image_id),
            "files": sorted(
                file.filename for mount_id in definition.mount_ids for file in world.objects.mounts.get(mount_id)
            ),
        }

    async def containers(self, request: web.Request) -> web.Response:
        return web.json_response([self._container(c) for c in self.world.pool.containers.values()])

    def _container(self, container: Container) -> dict[str, Any]:
        app = self.world.apps.get(container.function.app_id)
        live_number = next(
            (v.number for v in reversed(app.versions) if container.definition_id in v.definition_ids.values()), 0
        )
        return {
            "task_id": container.task_id,
            "app": app.name or app.description,
            "environment": app.environment,
            "function": container.function.name,
            "version": live_number,
            "pid": container.process.pid if container.process else 0,
            "ready": container.ready,
            "ended": container.ended,
            "draining": container.draining,
            "fate": container.fate,
            "exit_code": container.exit_code,
            "inputs": sorted(container.active),
            "calls": sorted({an_input.call.call_id for an_input in container.active.values()}),
            "created_at": container.created_at,
            "ready_at": container.ready_at,
            "ended_at": container.ended_at,
            "gpu": f"{container.definition.resources.gpu_config.gpu_type}:"
            f"{container.definition.resources.gpu_config.count}",
        }

    async def end(self, request: web.Request) -> web.Response:
        container = self.world.pool.containers.get(request.match_info["task_id"])
        if container is None:
            return web.json_response({"error": "no such container"}, status=404)
        order = await request.json()
        await self.world.pool.end(container, order["fate"], grace_s=order.get("grace_s"))
        return web.json_response({})

    async def journal(self, request: web.Request) -> web.Response:
        servicer = self.world.servicer
        calls = [[call.at_s, call.rpc, call.by_container, call.status] for call in servicer.journal]
        return web.json_response({"calls": calls, "errors": servicer.errors})

    async def apps(self, request: web.Request) -> web.Response:
        found = [
            {
                "app_id": app.app_id,
                "name": app.name or app.description,
                "environment": app.environment,
                "state": app.state,
                "version": app.live.number if app.live else 0,
                "versions": len(app.versions),
            }
            for app in self.world.apps.by_id.values()
        ]
        return web.json_response(found)

    async def logs(self, request: web.Request) -> web.Response:
        lines = [[line.task_id, line.function_call_id, line.fd, line.data] for line in self.world.logs.lines]
        return web.json_response(lines)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A committed file of a volume."""
        named = self.world.volumes.named
        volume_id = named.ids.get((known(request.query["environment"]), request.query["volume"]), "")
        path = named.get(volume_id).inside(request.query["path"]) if volume_id else None
        if path is None or not path.is_file():
            return web.Response(status=404)
        return web.Response(body=path.read_bytes())

    async def settings(self, request: web.Request) -> web.Response:
        """Set `patience_s` of web functions, or `exit_grace_s` of containers."""
        for name, value in (await request.json()).items():
            holder = {"patience_s": self.world.web, "exit_grace_s": self.world.pool}[name]
            setattr(holder, name, value)
        return web.json_response({})

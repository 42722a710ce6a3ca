"""The plane's process: all services together, on loopback, until whoever started it is gone.

Run as `python -m tests.support.modal_plane.server ROOT PARENT_PID`; writes `ROOT/plane.json` when it listens.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiohttp import web
from grpclib.server import Server
from modal_proto import api_pb2

from tests.support.modal_plane import containers
from tests.support.modal_plane.apps import Apps
from tests.support.modal_plane.blobs import Blobs
from tests.support.modal_plane.calls import Calls, failed
from tests.support.modal_plane.container_calls import ContainerCalls
from tests.support.modal_plane.containers import PLANE_ENV, Container
from tests.support.modal_plane.control import Control
from tests.support.modal_plane.faults import Faults
from tests.support.modal_plane.functions import Function, Functions
from tests.support.modal_plane.images import Images
from tests.support.modal_plane.logs import Logs
from tests.support.modal_plane.names import new_id
from tests.support.modal_plane.objects import Objects
from tests.support.modal_plane.pool import Pool
from tests.support.modal_plane.rpc import Servicer
from tests.support.modal_plane.sources import Sources, link_root, outside_root
from tests.support.modal_plane.stores import Stores
from tests.support.modal_plane.volume_tree import Copy
from tests.support.modal_plane.volumes import Volumes
from tests.support.modal_plane.web import Web

PARENT_POLL_S: Final = 0.25
_MAX_SOCKET_PATH: Final = 100

log = logging.getLogger(__name__)


class World:
    """Everything the plane knows, in memory; files below `root`."""

    def __init__(self, root: Path, plane_id: str) -> None:
        self.root = root
        self.plane_id = plane_id
        self.socket = root / "grpc"
        self.faults = Faults()
        self.logs = Logs()
        self.blobs = Blobs(root)
        self.volumes = Volumes(root / "volumes", self.blobs)
        self.objects = Objects()
        self.images = Images(self.faults, self.logs)
        self.sources = Sources(root / "sources", self.objects, self.blobs)
        self.functions = Functions(self.images)
        self.pool = Pool(self.launch, self.new_container, self.logs)
        self.calls = Calls(self.functions, self.pool.offer, self.pool.withdraw)
        self.pool.calls = self.calls
        self.web = Web(self.calls)
        self.apps = Apps(self.functions, self.pool, self.web, self.logs)
        self.functions.url_for = self.web.url_for
        self.web.app_key = self.apps.key
        self.servicer = Servicer(
            [
                self.blobs, self.volumes, self.objects, self.images, self.functions, self.calls, self.apps, self.web,
                self.logs, Stores(), ContainerCalls(self.pool), self,
            ],
            self.faults,
        )  # fmt: skip
        self.control = Control(self)

    def new_container(self, function: Function) -> Container:
        task_id = new_id("ta")
        directory = self.root / "tasks" / task_id
        directory.mkdir(parents=True)
        return Container(task_id, function, function.current or function.drafted, directory)

    async def launch(self, container: Container) -> None:
        """Start a container's process with its files, volumes and environment."""
        try:
            binds = await self._lay_out(container)
            await containers.start(
                container, arguments=self._arguments(container), env=self._env(container), binds=binds,
                logs=self.logs, on_end=self.pool.ended,
            )  # fmt: skip
        except Exception as error:
            log.exception("container did not start")
            self.servicer.errors.append(f"launch: {error!r}")
            container.init_result = failed(f"the plane could not start the container: {error!r}")
            container.ended_at = container.created_at
            self.pool.ended(container)

    async def _lay_out(self, container: Container) -> list[tuple[str, str, bool]]:
        definition = container.definition
        tree = await self.sources.tree(list(definition.mount_ids))
        own = container.directory / "root"
        await asyncio.to_thread(link_root, tree, own)
        binds = [(str(own), "/root", False)]
        binds += [(str(source), target, False) for source, target in outside_root(tree)]
        for number, mount in enumerate(definition.volume_mounts):
            volume = self.volumes.named.get(mount.volume_id)
            path = container.directory / f"volume-{number}"
            copy = Copy(volume.inside(mount.sub_path), path, mount.read_only)
            await asyncio.to_thread(copy.refresh)
            container.copies[mount.mount_path] = copy
            container.volume_ids[mount.mount_path] = mount.volume_id
            binds.append((str(path), mount.mount_path, mount.read_only))
        return binds

    def _env(self, container: Container) -> dict[str, str]:
        definition = container.definition
        image = self.images.env(definition.image_id)
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TMPDIR": str(container.directory / "tmp"),  # a container takes its temporary files with it
            **image,
            **self.objects.secret_env(list(definition.secret_ids)),
            "PYTHONPATH": ":".join(["/root", *filter(None, [image.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "MODAL_SERVER_URL": f"unix://{self.socket}",
            "MODAL_TASK_ID": container.task_id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_ENVIRONMENT": self.apps.get(container.function.app_id).environment,
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(container.directory / "arguments"),
            "MODAL_OVERRIDE_HEADERS": f"x-modal-task-id:{container.task_id}",
            PLANE_ENV: self.plane_id,
        }

    def _arguments(self, container: Container) -> api_pb2.ContainerArguments:
        app = self.apps.get(container.function.app_id)
        layout = self.apps.layout(app)
        layout.objects.extend(self._dependencies(container.definition))
        return api_pb2.ContainerArguments(
            task_id=container.task_id,
            function_id=container.function.function_id,
            app_id=app.app_id,
            function_def=container.definition,
            serialized_params=container.function.params,
            environment_name=app.environment,
            app_layout=layout,
        )

    def _dependencies(self, definition: api_pb2.Function) -> Iterator[api_pb2.Object]:
        for dependency in definition.object_dependencies:
            volume = self.volumes.named.by_id.get(dependency.object_id)
            metadata = volume.metadata() if volume else None
            yield api_pb2.Object(object_id=dependency.object_id, volume_metadata=metadata)


async def serve(root: Path, parent: int) -> None:
    plane_id = root.name
    world = World(root, plane_id)
    application = web.Application(client_max_size=2**34)
    application.add_routes([*world.blobs.routes(), *world.control.routes()])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http_port = runner.addresses[0][1]
    world.blobs.url = f"http://127.0.0.1:{http_port}"
    outside, inside = Server([world.servicer]), Server([world.servicer])
    await outside.start("127.0.0.1", 0)
    await inside.start(path=str(world.socket))
    assert outside._server is not None
    grpc_port = outside._server.sockets[0].getsockname()[1]
    ready = root / "plane.json.new"
    ready.write_text(json.dumps({"grpc": f"http://127.0.0.1:{grpc_port}", "http": world.blobs.url}))
    ready.rename(root / "plane.json")
    await _until_alone(parent)
    await asyncio.to_thread(containers.kill_all, PLANE_ENV, plane_id)
    shutil.rmtree(root, ignore_errors=True)


async def _until_alone(parent: int) -> None:
    """Until SIGTERM, or until the process that started this one is gone."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    while not over.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(over.wait(), timeout=PARENT_POLL_S)
        except TimeoutError:
            continue


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))

"""Apps: deployed under a name, in numbered versions, rolled back, promoted, stopped for good."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2
from modal_version import __version__

from tests.support.modal_plane.functions import Function, Functions
from tests.support.modal_plane.logs import Logs
from tests.support.modal_plane.names import ENVIRONMENTS, known, new_id
from tests.support.modal_plane.pool import Pool
from tests.support.modal_plane.rpc import Caller, not_found, refuse, rpc
from tests.support.modal_plane.web import Web

USER: Final = "plane"


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of an app's history.

    Attributes:
        definition_ids: By function id.
        kind: A `DeploymentType`.
        source: The version this one repeats, for a rollback or a promotion; 0 otherwise.
    """

    number: int
    function_ids: dict[str, str]
    class_ids: dict[str, str]
    definition_ids: dict[str, str]
    tag: str
    kind: int
    source: int
    commit_info: api_pb2.CommitInfo
    deployed_at: float = field(default_factory=time.time)

    def same(self, other: Version) -> bool:
        """Whether nothing that runs differs."""
        return (self.function_ids, self.class_ids, self.definition_ids, self.tag) == (
            other.function_ids,
            other.class_ids,
            other.definition_ids,
            other.tag,
        )


@dataclass
class App:
    app_id: str
    description: str
    environment: str
    state: int
    tags: dict[str, str] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    live: Version | None = None
    name: str = ""
    created_at: float = field(default_factory=time.time)
    stopped_at: float = 0.0

    def version(self, number: int) -> Version:
        found = next((version for version in self.versions if version.number == number), None)
        if found is None:
            raise not_found(f"App '{self.name}' has no version v{number}")
        return found

    def lifecycle(self) -> api_pb2.AppLifecycle:
        return api_pb2.AppLifecycle(
            app_state=self.state,
            created_at=self.created_at,
            created_by=USER,
            deployed_at=self.live.deployed_at if self.live else 0,
            deployed_by=USER if self.live else "",
            version=self.live.number if self.live else 0,
            stopped_at=self.stopped_at,
            stopped_by=USER if self.stopped_at else "",
        )


@dataclass
class Apps:
    functions: Functions
    pool: Pool
    web: Web
    logs: Logs
    by_id: dict[str, App] = field(default_factory=dict)

    def get(self, app_id: str) -> App:
        if app_id not in self.by_id:
            raise not_found(f"App '{app_id}' not found")
        return self.by_id[app_id]

    def deployed(self, name: str, environment: str) -> App | None:
        return next((app for app in self._called(name, environment) if app.state == api_pb2.APP_STATE_DEPLOYED), None)

    def _called(self, name: str, environment: str) -> list[App]:
        environment = known(environment)
        here = [app for app in self.by_id.values() if (app.name, app.environment) == (name, environment)]
        return sorted(here, key=lambda app: -app.created_at)

    def key(self, app_id: str) -> tuple[str, ...]:
        """What names an app's addresses: where it is deployed and under which name, not which app it is."""
        app = self.get(app_id)
        return (app.environment, app.name or app.description)

    # --- deploy ---------------------------------------------------------------------------------------------------

    @rpc("AppGetByDeploymentName")
    async def by_name(
        self, request: api_pb2.AppGetByDeploymentNameRequest, caller: Caller
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        answer = api_pb2.AppGetByDeploymentNameResponse(environment_name=known(request.environment_name))
        app = self.deployed(request.name, request.environment_name)
        if app is not None:
            answer.app_id = app.app_id
            answer.lifecycle.CopyFrom(app.lifecycle())
        elif before := self._called(request.name, request.environment_name):
            answer.previous_app_id = before[0].app_id
            answer.lifecycle.CopyFrom(before[0].lifecycle())
        return answer

    @rpc("AppCreate")
    async def create(self, request: api_pb2.AppCreateRequest, caller: Caller) -> api_pb2.AppCreateResponse:
        app = App(
            new_id("ap"), request.description, known(request.environment_name), request.app_state, dict(request.tags)
        )
        self.by_id[app.app_id] = app
        return api_pb2.AppCreateResponse(app_id=app.app_id, app_page_url=_page(app), app_logs_url=_page(app))

    @rpc("AppGetOrCreate")
    async def get_or_create(
        self, request: api_pb2.AppGetOrCreateRequest, caller: Caller
    ) -> api_pb2.AppGetOrCreateResponse:
        app = self.by_id.get(request.app_name) or self.deployed(request.app_name, request.environment_name)
        if app is None:
            if request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise not_found(f"App '{request.app_name}' not found in environment '{request.environment_name}'")
            app = App(
                new_id("ap"), request.app_name, known(request.environment_name), api_pb2.APP_STATE_DEPLOYED,
                name=request.app_name,
            )  # fmt: skip
            self.by_id[app.app_id] = app
        return api_pb2.AppGetOrCreateResponse(app_id=app.app_id, handle_metadata=self._info(app))

    @rpc("AppGetLayout")
    async def get_layout(self, request: api_pb2.AppGetLayoutRequest, caller: Caller) -> api_pb2.AppGetLayoutResponse:
        return api_pb2.AppGetLayoutResponse(app_layout=self.layout(self.get(request.app_id)))

    def layout(self, app: App) -> api_pb2.AppLayout:
        """What the app consists of, with a handle for each function."""
        if app.live is None:
            return api_pb2.AppLayout()
        objects = [
            api_pb2.Object(
                object_id=function_id,
                function_handle_metadata=self.functions.handle_of(self.functions.get(function_id)),
            )
            for function_id in app.live.function_ids.values()
        ]
        objects += [
            api_pb2.Object(object_id=class_id, class_handle_metadata=api_pb2.ClassHandleMetadata())
            for class_id in app.live.class_ids.values()
        ]
        return api_pb2.AppLayout(objects=objects, function_ids=app.live.function_ids, class_ids=app.live.class_ids)

    @rpc("AppPublish")
    async def publish(self, request: api_pb2.AppPublishRequest, caller: Caller) -> api_pb2.AppPublishResponse:
        app = self.get(request.app_id)
        if app.state == api_pb2.APP_STATE_STOPPED:
            raise refuse(f"App '{request.app_id}' has been stopped")
        app.name = request.name or app.name
        app.tags = dict(request.tags)
        if request.app_state:
            app.state = request.app_state
        version = Version(
            number=len(app.versions) + 1,
            function_ids=dict(request.function_ids),
            class_ids=dict(request.class_ids),
            definition_ids=dict(request.definition_ids),
            tag=request.deployment_tag,
            kind=api_pb2.DEPLOYMENT_TYPE_STAGED if request.staged else api_pb2.DEPLOYMENT_TYPE_STANDARD,
            source=0,
            commit_info=request.commit_info,
        )
        if app.live and version.same(app.live):
            return api_pb2.AppPublishResponse(url=_page(app))
        app.versions.append(version)
        if not request.staged:
            self._go_live(app, version)
        return api_pb2.AppPublishResponse(url=_page(app), deployed_at=version.deployed_at)

    def _go_live(self, app: App, version: Version) -> None:
        before = set(app.live.function_ids.values()) if app.live else set()
        app.live = version
        for function_id in version.function_ids.values():
            function = self.functions.get(function_id)
            function.current = version.definition_ids[function_id]
            self.web.assign(function)
            self.pool.roll(function)
        for function_id in before - set(version.function_ids.values()):
            for container in self.pool.of(self.functions.get(function_id)):
                self.pool.run(self.pool.end(container, "stopped"))

    # --- history --------------------------------------------------------------------------------------------------

    @rpc("AppDeploymentHistory")
    async def history(
        self, request: api_pb2.AppDeploymentHistoryRequest, caller: Caller
    ) -> api_pb2.AppDeploymentHistoryResponse:
        app = self.get(request.app_id)
        entries = [
            api_pb2.AppDeploymentHistory(
                app_id=app.app_id,
                version=version.number,
                client_version=__version__,
                deployed_at=version.deployed_at,
                deployed_by=USER,
                tag=version.tag,
                rollback_version=version.source,
                rollback_allowed=version.kind != api_pb2.DEPLOYMENT_TYPE_STAGED,
                commit_info=version.commit_info,
                deployment_type=version.kind,
            )
            for version in reversed(app.versions)
        ]
        return api_pb2.AppDeploymentHistoryResponse(
            app_deployment_histories=entries, production_app_version=app.live.number if app.live else 0
        )

    @rpc("AppRollback")
    async def rollback(self, request: api_pb2.AppRollbackRequest, caller: Caller) -> api_pb2.AppRollbackResponse:
        app = self.get(request.app_id)
        if request.version > 0:
            target = app.version(request.version)
        else:
            # The version before this one, be it the bad one that the last rollback was from.
            earlier = [v for v in app.versions if app.live and v.number < app.live.number]
            if not earlier:
                raise refuse(f"App '{app.name}' has no version to roll back to")
            target = earlier[-1]
        if target.kind == api_pb2.DEPLOYMENT_TYPE_STAGED:
            raise refuse(f"v{target.number} was only staged")
        version = self._again(app, target, api_pb2.DEPLOYMENT_TYPE_ROLLBACK)
        return api_pb2.AppRollbackResponse(url=_page(app), deployed_at=version.deployed_at)

    @rpc("AppPromote")
    async def promote(self, request: api_pb2.AppPromoteRequest, caller: Caller) -> api_pb2.AppPromoteResponse:
        app = self.get(request.app_id)
        target = app.version(request.version)
        rolled_back = any(v.kind == api_pb2.DEPLOYMENT_TYPE_ROLLBACK and v.number > target.number for v in app.versions)
        if target.kind != api_pb2.DEPLOYMENT_TYPE_STAGED or rolled_back:
            raise refuse(f"v{target.number} cannot be promoted")
        version = self._again(app, target, api_pb2.DEPLOYMENT_TYPE_PROMOTION)
        return api_pb2.AppPromoteResponse(url=_page(app), deployed_at=version.deployed_at)

    @rpc("AppRollover")
    async def rollover(self, request: api_pb2.AppRolloverRequest, caller: Caller) -> api_pb2.AppRolloverResponse:
        app = self.get(request.app_id)
        if app.live is None:
            raise refuse(f"App '{app.name}' is not deployed")
        version = self._again(app, app.live, api_pb2.DEPLOYMENT_TYPE_ROLLOVER)
        return api_pb2.AppRolloverResponse(url=_page(app), deployed_at=version.deployed_at)

    def _again(self, app: App, target: Version, kind: int) -> Version:
        """A new version that runs what an earlier one ran."""
        version = Version(
            number=len(app.versions) + 1,
            function_ids=target.function_ids,
            class_ids=target.class_ids,
            definition_ids=target.definition_ids,
            tag=target.tag,
            kind=kind,
            source=target.number,
            commit_info=target.commit_info,
        )
        app.versions.append(version)
        self._go_live(app, version)
        return version

    # --- the end --------------------------------------------------------------------------------------------------

    @rpc("AppStop")
    async def stop(self, request: api_pb2.AppStopRequest, caller: Caller) -> Empty:
        await self._stop(self.get(request.app_id))
        return Empty()

    async def _stop(self, app: App) -> None:
        app.state = api_pb2.APP_STATE_STOPPED
        app.stopped_at = app.stopped_at or time.time()
        self.web.withdraw(app.app_id)
        self.pool.run(self.pool.stop_app(app.app_id))
        self.logs.stop(app.app_id)

    @rpc("AppClientDisconnect")
    async def disconnect(self, request: api_pb2.AppClientDisconnectRequest, caller: Caller) -> Empty:
        app = self.get(request.app_id)
        if app.state in (api_pb2.APP_STATE_INITIALIZING, api_pb2.APP_STATE_EPHEMERAL):
            await self._stop(app)
        return Empty()

    @rpc("EnvironmentDelete")
    async def environment_delete(self, request: api_pb2.EnvironmentDeleteRequest, caller: Caller) -> Empty:
        """An environment goes with all its apps."""
        for app in self.by_id.values():
            if app.environment == known(request.name) and app.state != api_pb2.APP_STATE_STOPPED:
                await self._stop(app)
        ENVIRONMENTS.remove(request.name)
        return Empty()

    @rpc("ClientHello")
    async def hello(self, request: Empty, caller: Caller) -> api_pb2.ClientHelloResponse:
        """Whether a token is accepted; that is looked at before every call."""
        return api_pb2.ClientHelloResponse()

    @rpc("AppHeartbeat")
    async def heartbeat(self, request: api_pb2.AppHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    # --- look up --------------------------------------------------------------------------------------------------

    @rpc("AppGetInfo")
    async def info(self, request: api_pb2.AppGetInfoRequest, caller: Caller) -> api_pb2.AppGetInfoResponse:
        return api_pb2.AppGetInfoResponse(info=self._info(self.get(request.app_id)))

    @rpc("AppGetLifecycle")
    async def get_lifecycle(
        self, request: api_pb2.AppGetLifecycleRequest, caller: Caller
    ) -> api_pb2.AppGetLifecycleResponse:
        return api_pb2.AppGetLifecycleResponse(lifecycle=self.get(request.app_id).lifecycle())

    def _info(self, app: App) -> api_pb2.AppHandleMetadata:
        return api_pb2.AppHandleMetadata(
            description=app.name or app.description,
            app_id=app.app_id,
            environment_name=app.environment,
            lifecycle=app.lifecycle(),
            functions=app.live.function_ids if app.live else {},
        )

    @rpc("AppList")
    async def list(self, request: api_pb2.AppListRequest, caller: Caller) -> api_pb2.AppListResponse:
        environment = known(request.environment_name)
        items = [
            api_pb2.AppListResponse.AppListItem(
                app_id=app.app_id,
                name=app.name,
                description=app.name or app.description,
                state=app.state,
                created_at=app.created_at,
                stopped_at=app.stopped_at,
                n_running_tasks=sum(
                    1 for c in self.pool.containers.values() if c.function.app_id == app.app_id and not c.ended
                ),
                metadata=self._info(app),
            )
            for app in self.by_id.values()
            if app.environment == environment
        ]
        return api_pb2.AppListResponse(apps=items)

    @rpc("FunctionGet")
    async def get_function(self, request: api_pb2.FunctionGetRequest, caller: Caller) -> api_pb2.FunctionGetResponse:
        app = self._live_app(request)
        tag = request.object_tag
        version = app.version(request.app_version) if request.app_version else app.live
        if version is None or tag not in version.function_ids:
            raise not_found(f"App '{request.app_name}' has no function '{tag}'")
        function = self.functions.get(version.function_ids[tag])
        if request.app_version:
            function = self._pinned(function, version)
        return api_pb2.FunctionGetResponse(
            function_id=function.function_id,
            handle_metadata=self.functions.handle_of(function),
            function=self.functions.data(function.definition()),
        )

    def _pinned(self, function: Function, version: Version) -> Function:
        """The function as it was in a version, in containers of its own."""
        pinned_id = f"{function.function_id}.v{version.number}"
        definition_id = version.definition_ids[function.function_id]
        definitions = {definition_id: function.definitions[definition_id]}
        return self.functions.by_id.setdefault(
            pinned_id,
            Function(pinned_id, function.app_id, function.name, definitions, definition_id, definition_id),
        )

    @rpc("ClassGet")
    async def get_class(self, request: api_pb2.ClassGetRequest, caller: Caller) -> api_pb2.ClassGetResponse:
        app = self._live_app(request)
        if app.live is None or request.object_tag not in app.live.class_ids:
            raise not_found(f"App '{request.app_name}' has no class '{request.object_tag}'")
        return api_pb2.ClassGetResponse(
            class_id=app.live.class_ids[request.object_tag], handle_metadata=api_pb2.ClassHandleMetadata()
        )

    def _live_app(self, request: Any) -> App:
        app = self.deployed(request.app_name, request.environment_name)
        if app is None:
            raise not_found(f"No App with name '{request.app_name}' found in environment '{request.environment_name}'")
        return app


def _page(app: App) -> str:
    return f"http://127.0.0.1/apps/{app.app_id}"

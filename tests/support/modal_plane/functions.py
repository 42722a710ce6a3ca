"""Functions and classes: their definitions as deployed, their handles, and variants bound with options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modal_proto import api_pb2

from tests.support.modal_plane.images import Images
from tests.support.modal_plane.names import content_id, new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc

UrlFor = Callable[["Function", str], str]


@dataclass
class Function:
    """One function of an app; it keeps its id from deploy to deploy, and gets a new definition.

    Attributes:
        function_id: Its id.
        app_id: The app it belongs to.
        name: Its tag in the app; a class's service function is called `Class.*`.
        definitions: All definitions ever created for it, by definition id.
        drafted: The definition last created, not published yet.
        current: The definition that new containers run; empty before the first publish.
        base: The function this is a variant of.
        params: Serialized parameters of a bound class.
        autoscaler: Overrides since the last deploy.
    """

    function_id: str
    app_id: str
    name: str
    definitions: dict[str, api_pb2.Function] = field(default_factory=dict)
    drafted: str = ""
    current: str = ""
    base: str = ""
    params: bytes = b""
    autoscaler: api_pb2.AutoscalerSettings = field(default_factory=api_pb2.AutoscalerSettings)

    def definition(self, definition_id: str = "") -> api_pb2.Function:
        return self.definitions[definition_id or self.current or self.drafted]

    def scaling(self) -> api_pb2.AutoscalerSettings:
        """What the autoscaler goes by: the definition's settings, and the overrides on top."""
        settings = api_pb2.AutoscalerSettings()
        settings.CopyFrom(self.definition().autoscaler_settings)
        settings.MergeFrom(self.autoscaler)
        return settings


@dataclass
class Functions:
    images: Images
    by_id: dict[str, Function] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    url_for: UrlFor = field(init=False)

    def get(self, function_id: str) -> Function:
        if function_id not in self.by_id:
            raise not_found(f"Function '{function_id}' not found")
        return self.by_id[function_id]

    @rpc("FunctionPrecreate")
    async def precreate(
        self, request: api_pb2.FunctionPrecreateRequest, caller: Caller
    ) -> api_pb2.FunctionPrecreateResponse:
        function_id = request.existing_function_id or new_id("fu")
        function = self.by_id.setdefault(function_id, Function(function_id, request.app_id, request.function_name))
        early = api_pb2.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            webhook_config=request.webhook_config,
            method_definitions=request.method_definitions,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
        )
        return api_pb2.FunctionPrecreateResponse(
            function_id=function_id, handle_metadata=self.handle(function, early, "")
        )

    @rpc("FunctionCreate")
    async def create(self, request: api_pb2.FunctionCreateRequest, caller: Caller) -> api_pb2.FunctionCreateResponse:
        ranked = request.function_data.ranked_functions
        definition = ranked[0].function if ranked else request.function
        self.images.require(definition.image_id)
        function = self.get(request.existing_function_id) if request.existing_function_id else None
        if function is None:
            function = Function(new_id("fu"), request.app_id, definition.function_name)
            self.by_id[function.function_id] = function
        definition_id = content_id("de", definition.SerializeToString(deterministic=True))
        function.definitions[definition_id] = definition
        function.drafted = definition_id
        return api_pb2.FunctionCreateResponse(
            function_id=function.function_id,
            function=definition,
            handle_metadata=self.handle(function, definition, definition_id),
            function_data=self.data(definition),
        )

    @rpc("ClassCreate")
    async def create_class(self, request: api_pb2.ClassCreateRequest, caller: Caller) -> api_pb2.ClassCreateResponse:
        class_id = request.existing_class_id or new_id("cs")
        self.class_ids[class_id] = request.app_id
        return api_pb2.ClassCreateResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())

    @rpc("FunctionGetById")
    async def get_by_id(
        self, request: api_pb2.FunctionGetByIdRequest, caller: Caller
    ) -> api_pb2.FunctionGetByIdResponse:
        function = self.get(request.function_id)
        return api_pb2.FunctionGetByIdResponse(
            function=self.data(function.definition()), handle_metadata=self.handle_of(function)
        )

    @rpc("FunctionBindParams")
    async def bind(
        self, request: api_pb2.FunctionBindParamsRequest, caller: Caller
    ) -> api_pb2.FunctionBindParamsResponse:
        base = self.get(request.function_id)
        return self.variant(base, request.serialized_params, request.function_options)

    def variant(
        self, base: Function, params: bytes, options: api_pb2.FunctionOptions
    ) -> api_pb2.FunctionBindParamsResponse:
        """A function that runs the base's code with other options, in containers of its own."""
        version = options.pinned_app_version
        bound_id = content_id(
            "fu", base.function_id.encode(), base.current.encode(), params, options.SerializeToString()
        )
        if bound_id not in self.by_id:
            definition = api_pb2.Function()
            definition.CopyFrom(base.definition())
            _apply(options, definition)
            definition_id = content_id("de", definition.SerializeToString(deterministic=True), str(version).encode())
            self.by_id[bound_id] = Function(
                bound_id, base.app_id, base.name, {definition_id: definition}, definition_id, definition_id,
                base.function_id, params,
            )  # fmt: skip
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=bound_id, handle_metadata=self.handle_of(self.by_id[bound_id])
        )

    @rpc("FunctionUpdateSchedulingParams")
    async def update_scaling(
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest, caller: Caller
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        function = self.get(request.function_id)
        function.autoscaler.MergeFrom(request.settings)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=function.scaling())

    @rpc("FunctionGetSchedulingParams")
    async def get_scaling(
        self, request: api_pb2.FunctionGetSchedulingParamsRequest, caller: Caller
    ) -> api_pb2.FunctionGetSchedulingParamsResponse:
        settings = self.get(request.function_id).scaling()
        return api_pb2.FunctionGetSchedulingParamsResponse(
            autoscaler_configuration=api_pb2.AutoscalerConfiguration(settings=settings)
        )

    def handle_of(self, function: Function) -> api_pb2.FunctionHandleMetadata:
        definition_id = function.current or function.drafted
        return self.handle(function, function.definition(), definition_id)

    def handle(
        self, function: Function, definition: api_pb2.Function, definition_id: str
    ) -> api_pb2.FunctionHandleMetadata:
        """What the client keeps of a function; a class's has one handle for each method."""
        methods = {
            name: self._handle(function, method, definition_id, method_name=name)
            for name, method in definition.method_definitions.items()
        }
        handle = self._handle(function, definition, definition_id)
        handle.class_parameter_info.CopyFrom(definition.class_parameter_info)
        for name, metadata in methods.items():
            handle.method_handle_metadata[name].CopyFrom(metadata)
        return handle

    def _handle(
        self, function: Function, definition: Any, definition_id: str, method_name: str = ""
    ) -> api_pb2.FunctionHandleMetadata:
        serves = definition.webhook_config.type != api_pb2.WEBHOOK_TYPE_UNSPECIFIED
        return api_pb2.FunctionHandleMetadata(
            app_id=function.app_id,
            function_name=definition.function_name,
            function_type=definition.function_type,
            web_url=self.url_for(function, method_name) if serves else "",
            is_method=bool(method_name),
            use_method_name=method_name,
            definition_id=definition_id,
            function_schema=definition.function_schema,
            supported_input_formats=definition.supported_input_formats,
            supported_output_formats=definition.supported_output_formats,
        )

    def data(self, definition: api_pb2.Function) -> api_pb2.FunctionData:
        """The definition in the other message that the client knows."""
        data = api_pb2.FunctionData()
        theirs = data.DESCRIPTOR.fields_by_name
        for described, value in definition.ListFields():
            if described.name not in theirs:
                continue
            target = getattr(data, described.name)
            if described.is_repeated:
                target.MergeFrom(value)
            elif described.message_type:
                target.CopyFrom(value)
            else:
                setattr(data, described.name, value)
        data.ranked_functions.append(api_pb2.FunctionData.RankedFunction(rank=0, function=definition))
        return data


def _apply(options: api_pb2.FunctionOptions, definition: api_pb2.Function) -> None:
    """Change a definition as `with_options` asks."""
    for name in ("timeout_secs", "task_idle_timeout_secs", "max_concurrent_inputs", "target_concurrent_inputs"):
        if options.HasField(name):
            setattr(definition, name, getattr(options, name))
    for name in ("resources", "retry_policy", "scheduler_placement"):
        if options.HasField(name):
            getattr(definition, name).MergeFrom(getattr(options, name))
    if options.HasField("concurrency_limit"):
        definition.autoscaler_settings.max_containers = options.concurrency_limit
    if options.HasField("task_idle_timeout_secs"):
        definition.autoscaler_settings.scaledown_window = options.task_idle_timeout_secs
    if options.HasField("buffer_containers"):
        definition.autoscaler_settings.buffer_containers = options.buffer_containers
    replaced = {"secret_ids": options.replace_secret_ids, "volume_mounts": options.replace_volume_mounts}
    for name, replaces in replaced.items():
        if replaces:
            definition.ClearField(name)
        getattr(definition, name).MergeFrom(getattr(options, name))

"""The scheduler: which container gets which input, when containers start, and when they end.

A function's containers are those of its current definition, and during a rolling deploy those of the one
before, which serve until the first new one is ready. Inputs wait in one queue for each function.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from modal_proto import api_pb2

from tests.support.modal_plane.calls import Calls, Input, Result, failed, lost, terminated, timed_out
from tests.support.modal_plane.containers import Container, end
from tests.support.modal_plane.functions import Function
from tests.support.modal_plane.logs import SYSTEM, Line, Logs

FAILED_STARTS: Final = 2
"""After so many containers in a row that never became ready, the inputs that wait for one fail."""

SCALEDOWN_S: Final = 60.0
"""Modal's default for `scaledown_window`."""

CANCEL_GRACE_S: Final = 5.0
"""A container that has not given up a cancelled input by then is ended."""

EXIT_GRACE_S: Final = 10.0
"""How long an interrupted container has. On Modal it is 30 s; no test needs to wait for that."""


@dataclass
class Pool:
    """All containers and all queues.

    Attributes:
        launch: Starts the process of a container.
        stopped: Apps that have been stopped.
        exit_grace_s: See `EXIT_GRACE_S`.
    """

    launch: Callable[[Container], Awaitable[None]]
    new_container: Callable[[Function], Container]
    logs: Logs
    stopped: set[str] = field(default_factory=set)
    containers: dict[str, Container] = field(default_factory=dict)
    exit_grace_s: float = EXIT_GRACE_S
    _queues: dict[str, deque[Input]] = field(default_factory=lambda: defaultdict(deque))
    _failed_starts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    calls: Calls = field(init=False)

    def of(self, function: Function) -> list[Container]:
        return [c for c in self.containers.values() if c.function is function and not c.ended]

    # --- inputs ---------------------------------------------------------------------------------------------------

    def offer(self, an_input: Input) -> None:
        if an_input.function.app_id in self.stopped:
            self.run(self.calls.finish(an_input, terminated("The app has been stopped.")))
            return
        self._queues[an_input.function.function_id].append(an_input)
        self._failed_starts[an_input.function.function_id] = 0
        self.scale(an_input.function)
        self.wake()

    def withdraw(self, an_input: Input, terminate_containers: bool) -> None:
        """Cancel an input where it is: in the queue, or in a container, which is told by its next heartbeat."""
        queue = self._queues[an_input.function.function_id]
        if an_input in queue:
            queue.remove(an_input)
        an_input.cancelled = True
        container = self.containers.get(an_input.task_id)
        if container is None or container.ended:
            return
        if terminate_containers:
            self.run(self.end(container, "cancelled"))
        else:
            container.cancelled.put_nowait(an_input.input_id)
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._insist, container, an_input)

    def _insist(self, container: Container, an_input: Input) -> None:
        if an_input.output is None and not container.ended:
            self.run(self.end(container, "cancelled", grace_s=0))

    async def take(self, container: Container) -> Input | None:
        """The next input for a container that asks; None when it must end."""
        if not container.ready:
            self._became_ready(container)
        idle_since = time.monotonic()
        while not (container.draining or container.ended):
            queue = self._queues[container.function.function_id]
            if queue and self._may_serve(container):
                return self._give(container, queue.popleft())
            changed, left_s = self._changed, self._window_s(container) - (time.monotonic() - idle_since)
            if left_s <= 0 and not container.active and self._may_go(container):
                container.draining = True
                break
            try:
                await asyncio.wait_for(changed.wait(), timeout=max(left_s, 0.2))
            except TimeoutError:
                continue
            if container.active:
                idle_since = time.monotonic()
        return None

    def _give(self, container: Container, an_input: Input) -> Input:
        an_input.task_id = container.task_id
        an_input.started_at = time.monotonic()
        container.active[an_input.input_id] = an_input
        attempt = an_input.retry_count
        timeout_s = container.definition.timeout_secs or 300

        def expire() -> None:
            if an_input.output is None and an_input.retry_count == attempt and an_input.task_id == container.task_id:
                self.run(self._time_out(container, an_input, timeout_s))

        asyncio.get_running_loop().call_later(timeout_s, expire)
        return an_input

    async def _time_out(self, container: Container, an_input: Input, timeout_s: float) -> None:
        await self._conclude(container, an_input, timed_out(timeout_s))
        await self.end(container, "timed out", grace_s=0)

    async def done(self, container: Container, output: api_pb2.FunctionPutOutputsItem) -> None:
        """A container's result for one of its inputs; what an earlier attempt sends late is void."""
        an_input = container.active.get(output.input_id)
        if an_input is not None and output.retry_count == an_input.retry_count:
            created_at = output.output_created_at
            await self._conclude(container, an_input, output.result, output.data_format, created_at)

    async def _conclude(
        self, container: Container, an_input: Input, result: Result, data_format: int = 0, created_at: float = 0
    ) -> None:
        container.active.pop(an_input.input_id, None)
        policy = container.definition.retry_policy
        retried = (Result.GENERIC_STATUS_FAILURE, Result.GENERIC_STATUS_TIMEOUT)
        if result.status in retried and an_input.retry_count < policy.retries and an_input.output is None:
            delay_ms = policy.initial_delay_ms * max(policy.backoff_coefficient, 1) ** an_input.retry_count
            an_input.retry_count += 1
            an_input.task_id = ""
            asyncio.get_running_loop().call_later(min(delay_ms, policy.max_delay_ms) / 1000, self.offer, an_input)
        else:
            await self.calls.finish(an_input, result, data_format, created_at)
        self.wake()

    # --- containers -----------------------------------------------------------------------------------------------

    def scale(self, function: Function) -> None:
        """Start as many containers as the queue, the minimum and a rolling deploy ask for, if there is room."""
        if function.app_id in self.stopped or not (function.current or function.drafted):
            return
        here = self.of(function)
        current = [c for c in here if c.definition_id == function.current and not c.draining]
        old = [c for c in here if c.definition_id != function.current and not c.draining]
        slots = function.definition().max_concurrent_inputs or 1
        free = sum(max(c.slots - len(c.active), 0) for c in current)
        needed = math.ceil((len(self._queues[function.function_id]) - free) / slots)
        settings = function.scaling()
        wanted = max(needed, settings.min_containers - len(current), 1 if old and not current else 0)
        room = (settings.max_containers or math.inf) - len(here)
        if wanted > 0 and room <= 0 and old and not current:
            self._drain(old[0])
        if wanted > 0 and self._failed_starts[function.function_id] < FAILED_STARTS:
            for _ in range(int(min(wanted, room))):
                self._start(function)

    def _start(self, function: Function) -> None:
        container = self.new_container(function)
        self.containers[container.task_id] = container
        self.run(self.launch(container))
        startup_s = container.definition.startup_timeout_secs or container.definition.timeout_secs or 300

        def expire() -> None:
            if not (container.ready or container.ended):
                container.init_result = failed(f"Container did not start within {startup_s}s")
                self.run(self.end(container, "", grace_s=0))

        asyncio.get_running_loop().call_later(startup_s, expire)

    def roll(self, function: Function) -> None:
        """A new definition is current: what serves goes on until it is there, what is idle may go."""
        self._failed_starts[function.function_id] = 0
        function.autoscaler.Clear()
        for container in self.of(function):
            if container.definition_id != function.current and not container.serves_web() and not container.active:
                self._drain(container)
        self.scale(function)

    def _became_ready(self, container: Container) -> None:
        container.ready_at = time.time()
        function = container.function
        self._failed_starts[function.function_id] = 0
        if container.definition_id == function.current:
            for other in self.of(function):
                if other.definition_id != function.current:
                    self._drain(other)

    def _drain(self, container: Container) -> None:
        container.draining = True
        if not container.ready:
            self.run(self.end(container, "replaced", grace_s=0))
        self.wake()

    def _may_serve(self, container: Container) -> bool:
        function = container.function
        if container.definition_id == function.current:
            return True
        return not any(c.ready and c.definition_id == function.current for c in self.of(function))

    def _may_go(self, container: Container) -> bool:
        alive = [c for c in self.of(container.function) if not c.draining]
        return len(alive) > container.function.scaling().min_containers

    def _window_s(self, container: Container) -> float:
        return container.function.scaling().scaledown_window or SCALEDOWN_S

    async def end(self, container: Container, fate: str, *, grace_s: float | None = None) -> None:
        """End a container for a reason that decides what becomes of its inputs."""
        grace_s = self.exit_grace_s if grace_s is None else grace_s
        if fate in ("crashed", "lost"):
            container.fate, grace_s = fate, 0
        self.wake()
        await end(container, fate, grace_s=grace_s)

    async def stop_app(self, app_id: str, *, grace_s: float | None = None) -> None:
        """End all containers of an app, for good."""
        self.stopped.add(app_id)
        for function_id, queue in self._queues.items():
            for an_input in [waiting for waiting in queue if waiting.function.app_id == app_id]:
                self._queues[function_id].remove(an_input)
                await self.calls.finish(an_input, terminated("The app has been stopped."))
        here = [c for c in self.containers.values() if c.function.app_id == app_id and not c.ended]
        await asyncio.gather(*(self.end(container, "stopped", grace_s=grace_s) for container in here))

    def ended(self, container: Container) -> None:
        """A container is over: decide about its inputs, and about another in its place."""
        function = container.function
        note = f"Container {container.task_id} ended ({container.fate or f'exit code {container.exit_code}'}).\n"
        self.logs.add(Line(note, SYSTEM, function.app_id, function.function_id, container.task_id))
        for an_input in list(container.active.values()):
            self.run(self._orphan(container, an_input))
        if not container.ready and not container.fate:
            self._failed_starts[function.function_id] += 1
            if self._failed_starts[function.function_id] >= FAILED_STARTS:
                self._give_up(function, container)
        self.scale(function)
        self.wake()

    async def _orphan(self, container: Container, an_input: Input) -> None:
        """What becomes of an input whose container is gone."""
        container.active.pop(an_input.input_id, None)
        match container.fate:
            case _ if an_input.cancelled:
                await self.calls.finish(an_input, terminated("Input was cancelled by user."))
            case "preempted" | "replaced" | "cancelled":  # run again, whatever the retry policy
                an_input.task_id = ""
                self.offer(an_input)
            case "lost":
                await self.calls.finish(an_input, lost("The worker that ran the container was lost."))
            case "stopped":
                await self.calls.finish(an_input, terminated("The app has been stopped."))
            case _:
                reason = failed(f"Container exited unexpectedly with code {container.exit_code}.")
                await self._conclude(container, an_input, container.init_result or reason)

    def _give_up(self, function: Function, container: Container) -> None:
        if any(c.ready for c in self.of(function)):
            return
        reason = container.init_result or failed(f"Container failed to start, exit code {container.exit_code}.")
        queue = self._queues[function.function_id]
        while queue:
            self.run(self.calls.finish(queue.popleft(), reason))

    # --- the rest -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Let every container that waits for an input look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""The process that runs in every serving container, between the platform and the engine.

    python -m slipway.engine.supervisor --release-id R --model-dir D --manifest-digest X --port P \
        --status-file F --health-timeout-s N --stop-grace-s N [--prompt-tokens N] [--hang-after-s N] \
        [--api-key-env NAME] [--kernels D --kernel-key K] -- ENGINE ARGV…

It starts the engine only on verified weights, hands its output on without secrets, reads in it how far the
start is and what makes it hopeless, calls the engine ready when it has completed an inference, and keeps the
status file true. When the engine dies or hangs, the container ends; when the container is told to stop, the
engine may finish what it has begun; and no engine outlives it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import IO, Final, NoReturn, cast

from slipway.engine.hang import watch_for_hang
from slipway.engine.log_faults import Fault
from slipway.engine.log_reader import LogReader, say
from slipway.engine.log_start import StartPhase
from slipway.engine.readiness import Target, wait_ready
from slipway.engine.supervisor_events import Ended, Event, Ready, Step, StopAsked
from slipway.engine.supervisor_options import Options, parse
from slipway.errors import Crashed, Misconfigured, SlipwayError
from slipway.kernels.directories import environment
from slipway.kernels.provide import Kernels, provide
from slipway.platforms.port import Phase, ServerStatus
from slipway.platforms.status import write_status
from slipway.processes import dismiss_guard, fork_guard
from slipway.redact import redact_text
from slipway.weights.ready import require_ready

_REAP_TIMEOUT_S: Final = 5.0
_OUTPUT_TIMEOUT_S: Final = 2.0
_WAKE_S: Final = 10.0


class Supervisor:
    """One engine from its start to its end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._api_key = _api_key(options.api_key_env)
        self._secrets = (self._api_key,) if self._api_key else ()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._log = LogReader(
            self._secrets, on_step=lambda doing: self._events.put(Step(f"starting: {doing}")), on_fault=self._find
        )
        self._kernels: Kernels | None = None
        self._cold_start_s: Mapping[str, float] = {}
        self._told = ""
        self._ready = False
        self._over = threading.Event()

    def run(self) -> int:
        """Supervise until the engine has ended.

        Returns:
            The exit status: 0 after a stop that was asked for.

        Raises:
            Crashed: When the engine died or did not become ready.
            Misconfigured: When it may not or cannot be started.
        """
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, lambda *_: self._events.put(StopAsked()))
        self._tell(ServerStatus(Phase.STARTING, "checking that the weights were verified"))
        require_ready(self._options.model_dir, self._options.manifest_digest)
        self._kernels = self._give_kernels()
        engine = self._start()
        lifeline, held = os.pipe()
        printed = cast("IO[bytes]", engine.stdout)
        guard = fork_guard(lifeline=lifeline, group=engine.pid, close=(held, printed.fileno()))
        os.close(lifeline)
        output = self._watch(engine)
        grace_s = 0.0
        try:
            self._serve(output)
            grace_s = self._options.stop_grace_s
        finally:
            self._over.set()
            self._end(engine, grace_s)
            output.join(_OUTPUT_TIMEOUT_S)
            dismiss_guard(guard)
        self._tell(ServerStatus(Phase.STOPPED, "asked to stop"))
        return 0

    def _watch(self, engine: subprocess.Popen[bytes]) -> threading.Thread:
        """Start the threads that turn what the engine does into events; the one that reads its output."""
        output = threading.Thread(target=self._log.read, args=(engine.stdout,), daemon=True)
        ended = threading.Thread(target=self._await_end, args=(engine,), daemon=True)
        ready = threading.Thread(target=self._await_ready, daemon=True)
        for thread in (output, ended, ready):
            thread.start()
        return output

    def crash(self, error: SlipwayError) -> None:
        """Tell the reason, with the last lines that the engine printed."""
        detail = "\n".join([str(error), *self._log.last_lines])
        self._tell(ServerStatus(Phase.CRASHED, redact_text(detail, self._secrets)))

    def _give_kernels(self) -> Kernels | None:
        if self._options.kernels is None:
            return None
        self._tell(ServerStatus(Phase.STARTING, "unpacking kernels"))
        kernels = provide(self._options.kernels, self._options.kernel_key, self._options.kernel_roots)
        say(f"supervisor: {kernels.told()}\n")
        return kernels

    def _start(self) -> subprocess.Popen[bytes]:
        # One word: a key that begins with a dash would be taken for an option of its own.
        key = (f"--api-key={self._api_key}",) if self._api_key else ()
        try:
            return subprocess.Popen(
                [*self._options.argv, *key],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                env={**os.environ, **(environment(self._kernels.root) if self._kernels else {})},
            )
        except OSError as error:
            raise Misconfigured(
                f"The engine cannot be started: {error}.", remedy="Check the command that the release names."
            ) from None

    def _serve(self, output: threading.Thread) -> None:
        """Until a stop is asked for."""
        while True:
            try:
                event = self._events.get(timeout=_WAKE_S)
            except Empty:
                self._tell_news()
                continue
            match event:
                case Step(detail):
                    if not self._ready:
                        self._tell(ServerStatus(Phase.STARTING, detail))
                case Ready():
                    self._ready = True
                    self._cold_start_s = self._timings_s(event)
                    self._tell_news()
                    threading.Thread(target=self._await_hang, daemon=True).start()
                case StopAsked():
                    return
                case Ended(exit_status):
                    output.join(_OUTPUT_TIMEOUT_S)  # its last words are on their way
                    raise self._explained(exit_status)
                case Crashed():
                    raise event

    def _tell_news(self) -> None:
        """That the engine serves, and whether on the kernels it was given; told again when that changes."""
        start_s = self._cold_start_s.get("total")
        detail = f"serving; {self._kernels.told(start_s)}" if self._kernels else "serving"
        if self._ready and detail != self._told:
            self._told = detail
            kernels = self._kernels.faults() if self._kernels else None
            self._tell(ServerStatus(Phase.READY, detail, self._cold_start_s, kernels))

    def _timings_s(self, ready: Ready) -> Mapping[str, float]:
        """The start by phase: as the engine's log tells it, else as seen from outside. Phases add up to the total."""
        start = self._log.start
        if not start.recognised:
            return ready.timings_s
        phases_s = start.phases_s(ready.at_s)
        unpacking_s = self._kernels.seconds if self._kernels else 0.0
        phases_s[StartPhase.IMPORTS] -= unpacking_s
        return {"kernels": unpacking_s, **phases_s, "total": ready.at_s - start.began_s}

    def _explained(self, exit_status: int) -> Crashed:
        """The engine's end, with the cause where its log tells one."""
        how = f"The engine {_how(exit_status)}."
        if fault := self._log.explain_end():
            return Crashed(f"{how} {fault.error().message}", remedy=fault.remedy)
        return Crashed(how, remedy="Read its last lines.")

    def _find(self, fault: Fault) -> None:
        """Before the engine is ready a fault ends the wait; later it explains the end, should that come."""
        if not self._ready:
            self._events.put(fault.error())

    def _await_end(self, engine: subprocess.Popen[bytes]) -> None:
        self._events.put(Ended(engine.wait()))

    def _await_ready(self) -> None:
        target = Target(self._options.port, self._api_key)
        try:
            timings_s = wait_ready(
                target,
                timeout_s=self._options.health_timeout_s,
                tell=lambda detail: self._events.put(Step(detail)),
                prompt_tokens=self._options.prompt_tokens,
            )
        except Crashed as error:
            self._events.put(error)
        else:
            self._events.put(Ready(timings_s, time.monotonic()))

    def _await_hang(self) -> None:
        target = Target(self._options.port, self._api_key)
        if hang := watch_for_hang(target, after_s=self._options.hang_after_s, wait=self._over.wait):
            self._events.put(hang)

    def _end(self, engine: subprocess.Popen[bytes], grace_s: float) -> None:
        """SIGTERM to the engine, time to finish, SIGKILL to what is left of its group.

        Its workers are its own to end: they would die of the signal, and with them what it has begun.
        """
        if engine.returncode is None:
            engine.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while engine.returncode is None and time.monotonic() < deadline:
            time.sleep(0.02)  # the thread that waits for the engine sets its exit status
        _signal_group(engine.pid, signal.SIGKILL)
        engine.wait(timeout=_REAP_TIMEOUT_S)

    def _tell(self, status: ServerStatus) -> None:
        write_status(self._options.status_file, self._options.release_id, status)
        say(f"supervisor: {self._options.release_id} {status.phase}: {status.detail}\n")


def main(argv: Sequence[str]) -> NoReturn:
    """Supervise, and leave with the status that the platform is to see.

    It leaves without the interpreter's own clean-up: that would wait for threads that may hang in an engine.
    """
    exit_status = 1
    try:
        options = parse(argv)
        supervisor = Supervisor(options)
        try:
            exit_status = supervisor.run()
        except SlipwayError as error:
            supervisor.crash(error)
    except SlipwayError as error:
        say(f"supervisor: {error}\n")
    except SystemExit as error:
        exit_status = int(error.code or 0)
    sys.stdout.flush()
    os._exit(exit_status)


def _api_key(name: str | None) -> str | None:
    if name is None:
        return None
    if value := os.environ.get(name):
        return value
    raise Misconfigured(f"The environment has no {name}.", remedy=f"Name {name} in the server's secrets.")


def _signal_group(group: int, number: signal.Signals) -> None:
    """Signal a process group, if anything is left of it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _how(exit_status: int) -> str:
    if exit_status < 0:
        return f"was killed by {signal.Signals(-exit_status).name}"
    return f"ended with exit status {exit_status}"


if __name__ == "__main__":
    main(sys.argv[1:])

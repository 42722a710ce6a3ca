"""Which release of an app is live, and how that changes.

The live release is the app of the target's own name; Modal counts its versions, and begins anew when the app was
stopped. Slipway's versions go on; for each, `apps/<app>.json` in the volume of releases has the version at Modal.
What is about to be switched is written down first: a process that dies in between leaves the next one to see, by
Modal's version, whether the switch came about.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from slipway.errors import Misconfigured
from slipway.platforms.local.releases import Releases
from slipway.platforms.modal import apps, handles
from slipway.platforms.modal.apps import Deployed
from slipway.platforms.modal.definitions import SOURCES, serve_app
from slipway.platforms.modal.images import image_for
from slipway.platforms.modal.probe import wait_for_release
from slipway.platforms.modal.secrets import Secrets
from slipway.platforms.modal.volumes import ModalVolume
from slipway.platforms.port import Deployment, Release, ServerSpec
from slipway.platforms.records import release_as_json, release_from_json
from slipway.units import utc_now

CLI_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Switch:
    """A version that users are about to reach.

    Attributes:
        release: As it will be in the history.
        server_id: Under which its containers tell their phase.
        before: The live app at Modal before it.
    """

    release: Release
    server_id: str
    before: Deployed | None


@dataclass(frozen=True, slots=True)
class Book:
    """What is written down of an app.

    Attributes:
        releases: The history, and which version is live.
        placed: By version, where at Modal it is.
        servers: By version, under which id its containers tell their phase.
        pending: A switch that was begun.
    """

    releases: Releases
    placed: dict[int, Deployed]
    servers: dict[int, str]
    pending: Switch | None = None

    def concluded(self, switch: Switch, deployed: Deployed) -> Book:
        """With a switch that came about; one back to a version that was there adds none to the history."""
        version = switch.release.version
        history = self.releases.history
        known = history if self.releases.find(version) else (*history, switch.release)
        return Book(
            Releases(version, known),
            self.placed | {version: deployed},
            self.servers | {version: switch.server_id},
        )


class LiveReleases:
    """The live releases of one environment.

    Args:
        secrets: For the key that answers need.
        sources: Packages that containers import.
    """

    def __init__(self, secrets: Secrets, sources: tuple[str, ...] = SOURCES) -> None:
        self._secrets = secrets
        self._sources = sources

    def live(self, app: str) -> Release | None:
        """The release users reach, or None before the first.

        Raises:
            Misconfigured: If the app was changed by hand, so that nobody knows.
        """
        book = self.book(app)
        return book.releases.find(book.releases.live)

    def book(self, app: str) -> Book:
        """What is written down of an app, brought into agreement with Modal.

        Raises:
            Misconfigured: If the app was changed by hand.
        """
        book = _read(app)
        now = apps.look(app)
        recorded = book.placed.get(book.releases.live) if book.releases.live else None
        if now is None or now == recorded:
            return book
        if book.pending and now != book.pending.before:
            release = replace(book.pending.release, url=apps.url_of(app, handles.SERVE))
            book = book.concluded(replace(book.pending, release=release), now)  # its process died after the switch
            _write(app, book)
            return book
        raise Misconfigured(
            f"{app} is at version {now.version} of {now.app_id}, which Slipway has not deployed.",
            remedy=f"`slipway rollback {app} VERSION` brings back a release of Slipway's; `modal app stop {app}` "
            "ends what was deployed by hand.",
        )

    def history(self, app: str) -> tuple[Release, ...]:
        """All versions, oldest first."""
        return _read(app).releases.history

    def server_id(self, app: str, version: int) -> str:
        """Under which id the containers of a version tell their phase."""
        return _read(app).servers[version]

    def promote(self, deployment: Deployment, spec: ServerSpec) -> Release:
        """Deploy a candidate's release under the live name, and wait until only that answers.

        Raises:
            Crashed: If it does not come to that; the release before serves then.
        """
        book = _read(deployment.app)
        return self._switch(book, self._next(book, deployment.app, deployment, spec, None), to=None)

    def roll_back(self, app: str, version: int, *, timeout_s: float) -> Release:
        """Let users reach an explicit earlier version again.

        Raises:
            Misconfigured: When there is none of that number.
            Crashed: If it does not come to that; the release before serves then.
        """
        book = _read(app)
        earlier = book.releases.find(version)
        if earlier is None:
            known = ", ".join(str(release.version) for release in book.releases.history) or "none"
            raise Misconfigured(f"{app} has no version {version}; there is {known}.", remedy="Name one of these.")
        target = Deployment(app, earlier.deployment_id, earlier.release_id, earlier.url)
        switch = self._next(book, app, target, earlier.spec, version)
        return self._switch(book, switch, to=version, timeout_s=timeout_s)

    def stop(self, app: str, *, forget: bool = False) -> None:
        """End the live app; its versions stay written down, and one of them live unless that is to be forgotten."""
        apps.stop(app)
        if forget:
            book = _read(app)
            _write(app, replace(book, releases=replace(book.releases, live=None), pending=None))

    def _next(self, book: Book, app: str, target: Deployment, spec: ServerSpec, rolled_back_to: int | None) -> Switch:
        version = book.releases.history[-1].version + 1 if book.releases.history else 1
        release = Release(app, version, target.release_id, target.deployment_id, "", spec, utc_now(), rolled_back_to)
        return Switch(release, f"{app}-v{version}", apps.look(app))

    def _switch(self, book: Book, switch: Switch, *, to: int | None, timeout_s: float | None = None) -> Release:
        """Bring a version about at Modal, prove it at the live address, write it down.

        Args:
            book: What is written down so far.
            switch: The version.
            to: The earlier version that it brings back, if Modal may do that itself.
            timeout_s: For the release to answer; None: as long as it may take to start.
        """
        app, spec = switch.release.app, switch.release.spec
        self._secrets.ensure(spec.secrets)
        _write(app, replace(book, pending=switch))
        try:
            if to is not None and _rolled_back(app, book.placed.get(to), switch.before):
                switch = replace(switch, server_id=book.servers[to])
            else:
                self._put(switch)
            url = apps.url_of(app, handles.SERVE)
            self._await(url, switch.release, timeout_s or spec.replicas.startup_timeout_s)
            switch = replace(switch, release=replace(switch.release, url=url))
            _write(app, book.concluded(switch, apps.shown(app)))
        except BaseException:
            self._take_back(replace(book, pending=None), app)
            raise
        return switch.release

    def _put(self, switch: Switch) -> None:
        app, spec = switch.release.app, switch.release.spec
        image = image_for(spec.resources, self._sources)
        definition = serve_app(app, spec, spec.replicas, server_id=switch.server_id, image=image)
        apps.put(definition, app, tag=switch.release.deployment_id)

    def _await(self, url: str, release: Release, timeout_s: float) -> None:
        key = self._secrets.value(release.spec.secrets[0]) if release.spec.secrets else None
        wait_for_release(url, release.release_id, key, timeout_s=timeout_s)

    def _take_back(self, book: Book, app: str) -> None:
        """Bring back the version that was live, if Modal has left it; without one, end what was begun.

        It is a switch like any other: whoever comes after a death in the middle must know which way it went, and
        until the version before answers users reach what is taken back.
        """
        before, now = book.releases.find(book.releases.live), apps.look(app)
        if before is None:
            apps.stop(app)
        elif now not in {None, book.placed.get(before.version)}:
            back = Switch(before, book.servers[before.version], now)
            _write(app, replace(book, pending=back))
            if not _rolled_back(app, book.placed.get(before.version), now):
                self._put(back)
            self._await(apps.url_of(app, handles.SERVE), before, before.spec.replicas.startup_timeout_s)
            book = book.concluded(back, apps.shown(app))
        _write(app, book)


def _rolled_back(app: str, target: Deployed | None, now: Deployed | None) -> bool:
    """Have Modal itself go back to an explicit version of the app; whether it did.

    It does not for an app that was stopped in between, and not on every plan.
    """
    if target is None or now is None or target.app_id != now.app_id:
        return False
    command = [sys.executable, "-m", "modal", "app", "rollback", app, f"v{target.version}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CLI_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and apps.look(app) != now


def _path(app: str) -> str:
    return f"apps/{app}.json"


def _read(app: str) -> Book:
    try:
        document = json.loads(ModalVolume(handles.RELEASES).read(_path(app)))
    except FileNotFoundError:
        return Book(Releases(), {}, {})
    history = tuple(release_from_json(release) for release in document["history"])
    return Book(
        Releases(document["live"], history),
        {int(version): Deployed(**placed) for version, placed in document["placed"].items()},
        {int(version): server_id for version, server_id in document["servers"].items()},
        _switch_from_json(document["pending"]) if document["pending"] else None,
    )


def _switch_from_json(document: dict[str, Any]) -> Switch:
    before = Deployed(**document["before"]) if document["before"] else None
    return Switch(release_from_json(document["release"]), document["server_id"], before)


def _write(app: str, book: Book) -> None:
    document = {
        "live": book.releases.live,
        "history": [release_as_json(release) for release in book.releases.history],
        "placed": {str(version): asdict(placed) for version, placed in book.placed.items()},
        "servers": {str(version): server_id for version, server_id in book.servers.items()},
        "pending": book.pending
        and {
            "release": release_as_json(book.pending.release),
            "server_id": book.pending.server_id,
            "before": book.pending.before and asdict(book.pending.before),
        },
    }
    ModalVolume(handles.RELEASES).write(_path(app), json.dumps(document, indent=1).encode())

"""`slipway resolve`: write down which bytes a profile's tag and branch name, or say whether that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.output import err, friendly_errors, out, print_json, say, working
from slipway.errors import Misconfigured
from slipway.profile import Profile
from slipway.profile.load import profile_path, read_profile
from slipway.profile.lock import Lock, lock_path, needs_lock, pinned, read_lock, write_lock
from slipway.stages.resolve import Pin, look, pins
from slipway.stages.resolve import resolve as find
from slipway.stages.surroundings import hub_endpoint

MOVED = 1
"""Exit code of `--check` where a tag or branch names something else than was resolved."""


def resolve(
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 if something moved since it was resolved.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Ask the image registry for the tag's digest and the Hub for the revision's commit; lock the profile to both."""
    with friendly_errors(as_json=as_json):
        path, chosen = profile_path(profile), read_profile(profile)
        before = read_lock(path)
        if check:
            _require_lock(chosen, before, path)
        with hub_endpoint(chosen) as hub, working("asking the registry and the Hub", err):
            lock = before if check else find(chosen, hub)
            found = look(chosen, before, hub) if check else pins(lock, before)
        written = not check and not dry_run and _write(path, lock, before)
    if as_json:
        told = [asdict(pin) | {"moved": pin.moved} for pin in found]
        print_json({"profile": chosen.name, "lock": str(lock_path(path)), "written": written, "pins": told})
    else:
        _show(found)
        out.print(_sentence(chosen, lock, path, written=written, dry_run=dry_run or check), soft_wrap=True)
    if check and any(pin.moved for pin in found):
        raise typer.Exit(MOVED)


def _require_lock(profile: Profile, lock: Lock | None, path: Path) -> None:
    """Refuse to compare with nothing, or with what the profile named before."""
    if lock is not None:
        pinned(profile, lock, source=lock_path(path))
    elif needs_lock(profile):
        raise Misconfigured(
            f"{profile.name} was never resolved: there is no {lock_path(path)}.",
            remedy=f"Run `slipway resolve {profile.name}` first.",
        )


def _write(path: Path, lock: Lock | None, before: Lock | None) -> bool:
    """Write what is new; a lock that says the same keeps its date."""
    if lock is None or (before and before.model_copy(update={"resolved_at": lock.resolved_at}) == lock):
        return False
    write_lock(path, lock)
    return True


def _show(found: Sequence[Pin]) -> None:
    for pin in found:
        state = "moved" if pin.moved else "as before" if pin.before else "new"
        say(f"[bold]{pin.field}[/] {state}:", f"{pin.named} is {pin.now}" + (f", was {pin.before}" * pin.moved))


def _sentence(profile: Profile, lock: Lock | None, path: Path, *, written: bool, dry_run: bool) -> str:
    file = lock_path(path)
    if not needs_lock(profile):
        spare = f"; {file} can be removed" if file.exists() else ""
        return f"nothing in {profile.name} can move, so it needs no lock{spare}"
    if written:
        return f"written to {file}: commit it"
    if dry_run:
        return "nothing was written"
    return f"{file} says the same, since {lock.resolved_at:%Y-%m-%d}" if lock else ""

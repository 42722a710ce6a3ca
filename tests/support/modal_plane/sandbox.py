"""The walls around a container's process: its own files, and for a server its own network.

Run as `python -I sandbox.py SPEC`, it shows the process the host's files, except for what the spec lays over
them and what it hides, and then becomes that process. Nothing is written to the host: where a mount point does
not exist, the directory that would hold it is made anew, with everything else in it bound. Needs root.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
LINKS = ("dummy", "bridge")
"""Kinds of network device that can stand for a container's eth0; kernels differ in which they have."""

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind else None
    check(_libc.mount(source.encode(), target.encode(), encoded, flags, None), f"mount {source} on {target}")


def bind(source: str, root: str, target: str, *, read_only: bool = False) -> None:
    """Show a file or directory of the host at a path below the new root."""
    place = root + target
    if Path(source).is_dir():
        Path(place).mkdir(parents=True, exist_ok=True)
    elif not Path(place).exists():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).touch()
    mount(source, place, None, MS_BIND | MS_REC)
    if read_only:
        mount("none", place, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def show_host(root: str, directory: str, covered: list[str]) -> None:
    """Bind all of a directory of the host; those that lead to a mount point are made anew, entry by entry."""
    for entry in os.scandir(directory):
        if entry.path in covered:
            continue
        if entry.is_symlink():
            Path(root + entry.path).symlink_to(Path(entry.path).readlink())
        elif any(path.startswith(entry.path + "/") for path in covered):
            Path(root + entry.path).mkdir(parents=True)
            if entry.is_dir():
                show_host(root, entry.path, covered)
        elif entry.is_dir() or entry.is_file():
            bind(entry.path, root, entry.path)


def own_network() -> None:
    """A loopback and an eth0, as `@modal.web_server` looks for; nothing outside can be reached."""
    check(_libc.unshare(CLONE_NEWNET), "unshare network")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for kind in LINKS:
        made = subprocess.run(["ip", "link", "add", "eth0", "type", kind], check=False, capture_output=True)
        if made.returncode == 0:
            subprocess.run(["ip", "address", "add", "10.200.0.2/24", "dev", "eth0"], check=True)
            subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
            return
    raise OSError(f"no network device of the kinds {LINKS} can be made")


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    check(_libc.unshare(CLONE_NEWNS), "unshare mounts")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    root = spec["root"]
    mount("tmpfs", root, "tmpfs", 0)
    binds = [tuple(entry) for entry in spec["binds"]]
    show_host(root, "/", [target for _, target, _ in binds])
    for source, target, read_only in sorted(binds, key=lambda entry: entry[1]):
        bind(source, root, target, read_only=read_only)
    for path in spec["needed"]:
        if not Path(root + path).exists():
            bind(path, root, path)
    for path in spec["hidden"]:
        if Path(root + path).is_dir():
            mount("tmpfs", root + path, "tmpfs", 0)
    if spec["own_network"]:
        own_network()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job has it ignored
    os.chroot(root)
    os.chdir("/root")
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


if __name__ == "__main__":
    main()

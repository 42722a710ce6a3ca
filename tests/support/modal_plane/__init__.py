"""A control plane of Modal's on loopback, for the real client, its CLI and its container entrypoint.

    with modal_plane(tmp_path) as plane:
        subprocess.run(["modal", "deploy", "app.py"], env={**os.environ, **plane.env})
        plane.definitions("app")["Serve.*"].proto.resources.gpu_config.count

The plane runs in a process of its own, so that several clients can use it one after another or at once, and
outlives each of them. It ends, with every container, with the `with` block, or when the process that started it
is gone. In the process of the test itself set `plane.env` *before* `modal` is imported, or use
`modal.Client.from_credentials`; the client reads its environment once.

What is real: the client, its wire format, its retries, its CLI, `python -m modal._container_entrypoint`, the
sources that were uploaded, secrets, ENV lines, commits and reloads, versions. A container

* is a process that sees the host's files, with its mounted sources in `/root`, its volumes at their own paths
  and nothing of the checkout's packages (`HIDDEN`): what was not uploaded cannot be imported;
* works on copies of its volumes: what it does not commit is seen nowhere, what others commit is seen after
  `reload()` only, which is refused while it has files open; a read-only mount is read-only, `sub_path` is kept;
  a commit carries over changed, added and removed files, the last writer of a file wins. As on Modal, a container
  commits its volumes when it exits;
* that serves (`@modal.web_server`) has a network of its own, with an `eth0`: any port is free, a server bound to
  127.0.0.1 is not found, and nothing outside can be reached. Other containers are on the host's network;
* starts in about 0.7 s, is kept for `scaledown_window`, and fails its inputs after two starts in a row that
  failed. Needs root: skip tests where `why_not_here()` says a reason.

Web functions answer at `http://127.0.0.1:PORT`, one port for an environment, app name, function and method; it
stays through versions and stops (404 while stopped). Requests wait for a container; after `patience_s` (150 s) they
are redirected (303). `requires_proxy_auth` wants `web.PROXY_KEY`. A rolling deploy starts a container of the new
version, and lets the old one serve until it is ready; at `max_containers` the old one goes first.

A killed container's inputs fail (`kill_container`), a lost one's end as `InternalFailure` (`lose_container`), a
preempted one's run again (`preempt`). `plane.faults.add(rpc, kind, …)` makes calls fail: see `faults.Fault`; the
client itself repeats `unavailable`, `internal`, `unknown`, `deadline` and `cancelled` three times, so
`count=4` is the least that it notices. `reply_lost=True` does the call and loses the answer; a repetition with the
same idempotency key is not done twice. Another process orders faults with POST `$MODAL_PLANE_CONTROL/control/faults`.

What is not: images are not built (ENV lines count, nothing else; Python is the host's), GPUs, scheduling,
quotas, background commits every few seconds, `@app.server`, sandboxes, network file systems.

Environments `main` (the default) and `staging` exist. Errors of the plane itself are in `plane.errors()`.
"""

from tests.support.modal_plane.plane import ContainerState, Definition, Plane, modal_plane, why_not_here

__all__ = ["ContainerState", "Definition", "Plane", "modal_plane", "why_not_here"]

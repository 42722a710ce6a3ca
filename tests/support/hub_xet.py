"""A Hub that offers its files by Xet, too: it names their hashes, gives tokens, and has a store that misbehaves.

There is no such store outside the Hub. What can be seen here is that the client asks it, with what, and what becomes
of a fetch when it does not answer or refuses.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "a-token-for-the-store"
TOKEN_PATH = "/xet-read-token"
STORE_PATH = "/store"


@dataclass
class XetHub:
    """Passes requests on to `app`; metadata of files gets what the client needs to ask the store.

    Attributes:
        app: The Hub's app.
        store: What the store answers; None: nothing, with the connection open.
        asked: Path and headers of every request to the store, in order.
    """

    app: ASGIApp
    store: Response | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        base = f"http://{headers['host']}"
        if scope["path"] == TOKEN_PATH:
            await self._give_token(base)(scope, receive, send)
        elif scope["path"].startswith(STORE_PATH):
            self.asked.append((scope["path"], headers))
            await self._answer(scope, receive, send)
        elif scope["method"] == "HEAD" and "/resolve/" in scope["path"]:
            await self.app(scope, receive, _offering(scope["path"], base, send))
        else:
            await self.app(scope, receive, send)

    def _give_token(self, base: str) -> Response:
        given = {
            "X-Xet-Cas-Url": f"{base}{STORE_PATH}",
            "X-Xet-Access-Token": TOKEN,
            "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
        }
        return Response("{}", headers=given, media_type="application/json")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.store is not None:
            await self.store(scope, receive, send)
            return
        while (await receive())["type"] != "http.disconnect":
            pass


def _offering(path: str, base: str, send: Send) -> Send:
    async def offer(message: Message) -> None:
        if message["type"] == "http.response.start":
            offered = {
                "x-xet-hash": hashlib.sha256(path.encode()).hexdigest(),
                "x-xet-refresh-route": f"{base}{TOKEN_PATH}",
            }
            more = [(name.encode(), value.encode()) for name, value in offered.items()]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return offer

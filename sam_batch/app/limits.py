"""Bounds on what a browser may send, as ASGI middleware: too large a request ends before it is kept.

The limits on a decoded image are in `photograph`.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

AROUND_A_FILE = 1 << 16  # bytes of a form besides the file in it
_TOO_LARGE = b"the upload is larger than input.max_bytes allows"


class BodyLimit:
    """Answers requests of more than so many bytes with 413, whatever they say of their size.

    Args:
        app: What is behind.
        most: Bytes.
    """

    def __init__(self, app: Application, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what is small enough."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most:
            return await _refuse(send)
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise _TooLargeError
            return message

        async def passed(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, passed)
        except _TooLargeError:
            if not answered:
                await _refuse(send)


class _TooLargeError(Exception):
    """A body went over the limit on its way."""


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": _TOO_LARGE})

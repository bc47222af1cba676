"""Too large a request ends before it is kept, whatever it says of its size."""

import asyncio

import pytest

from sam_batch.app.limits import BodyLimit

MOST = 10


def answer(chunks, headers=(), kind="http"):
    """The status that the middleware, with an application behind it that reads all, answers with; and what was read."""
    sent, read, left = [], [], list(chunks)

    async def receive():
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    async def application(scope, receive, send):
        while True:
            message = await receive()
            read.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": kind, "headers": list(headers)}
    asyncio.run(BodyLimit(application, MOST)(scope, receive, send))
    return sent[0]["status"], b"".join(read)


@pytest.mark.parametrize("chunks", [[], [b"x" * 10], [b"x" * 4] * 2])
def test_what_is_small_enough_passes(chunks):
    assert answer(chunks) == (200, b"".join(chunks))


def test_a_body_that_grows_too_large_is_cut_off():
    status, read = answer([b"x" * 6] * 9)
    assert (status, len(read)) == (413, 6)


def test_one_that_says_so_is_not_read_at_all():
    assert answer([b"x"], [(b"content-length", b"11")]) == (413, b"")


def test_a_false_size_does_not_help():
    assert answer([b"x" * 11], [(b"content-length", b"1")])[0] == 413
    assert answer([b"x" * 11], [(b"content-length", b"some")])[0] == 413


def test_what_is_no_request_passes():
    assert answer([b"x" * 11], kind="websocket")[0] == 200

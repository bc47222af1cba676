"""A JSON file block by block, as `ijson` takes it: NaN and Infinity, which Python writes and JSON has not, become null.

Strings are left as they are. It parses nothing else.
"""

import io
import re
from collections.abc import Iterator
from typing import Final

BLOCK: Final = 1 << 16
_STRING_OR_NUMBER: Final = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
_UNFINISHED: Final = re.compile(rb"(?:\\+|-|-?[A-Za-z]{1,8})$")  # an escape, sign or word, whose rest may follow


def json_blocks(file: io.BufferedReader, size: int = BLOCK) -> Iterator[bytes]:
    """The blocks of a file, of about `size` bytes."""
    rest, in_string = b"", False
    while block := file.read(size):
        block = rest + block
        cut = _UNFINISHED.search(block)
        rest = cut[0] if cut else b""
        block = block[: len(block) - len(rest)]
        if b"NaN" in block or b"Infinity" in block:
            quote = b'"' * in_string  # so that a string that began before is seen as one
            yield _STRING_OR_NUMBER.sub(_null, quote + block)[len(quote) :]
        elif block:
            yield block
        quotes = _ESCAPED.sub(b"", block) if b"\\" in block else block
        in_string ^= quotes.count(b'"') % 2 == 1
    if rest:
        yield _STRING_OR_NUMBER.sub(_null, rest)


def _null(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"

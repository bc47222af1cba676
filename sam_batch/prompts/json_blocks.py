"""A JSON file block by block, as `ijson` takes it, and values out of it, one at a time.

`json_blocks` makes null of NaN and Infinity, which Python writes and JSON has not; strings are left as they are.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import ijson

from sam_batch.errors import ConfigError

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


def json_values(blocks: Iterable[bytes], prefixes: Sequence[str], place: str) -> Iterator[tuple[str, Any]]:
    """Every value at some places of a JSON file, in one pass over it.

    Args:
        blocks: Of the file.
        prefixes: Of the places, as `ijson` names them: `images.item`.
        place: Before what is wrong with the file.

    Raises:
        ConfigError: It is no JSON.
    """
    found: dict[str, Any] = {prefix: ijson.sendable_list() for prefix in prefixes}
    parsers = [ijson.items_coro(found[prefix], prefix, use_float=True) for prefix in prefixes]
    done, lines = 0, 1
    try:
        for block in blocks:
            for parser in parsers:
                parser.send(block)
            for prefix in prefixes:
                yield from ((prefix, value) for value in found[prefix])
                del found[prefix][:]
            done, lines = done + len(block), lines + block.count(b"\n")
        for parser in parsers:
            parser.close()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{place}: is no JSON in UTF-8 after line {lines} (byte {done:,}): {reason[:200]}") from error


def _null(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"

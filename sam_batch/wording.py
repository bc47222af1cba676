"""How numbers are said to a person."""


def counted(count: int, noun: str) -> str:
    """A count and its noun, such as `1 image` and `2 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

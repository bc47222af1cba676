"""What a source of prompts says, one thing after the other: images, categories, objects, and rows that are wrong.

Any of them may come before any other: COCO's files have their annotations before their images, or behind.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from sam_batch.records import Prompt


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, for whoever has to mend it.

    Attributes:
        file: As it was named.
        what: line, annotation, row, ...
        number: Of the line or row, from 1.
    """

    file: str
    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, {self.what} {self.number}"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image as the source describes it.

    Attributes:
        reference: What its objects call it.
        name: Of its file, perhaps with folders.
        source_id: Its number, where it has one.
        width: As it was annotated, in pixels; None where the source does not say.
        height: Likewise.
        normalised: The coordinates of its objects are shares of its sides.
        is_stem: Its name has no extension.
    """

    reference: str
    name: str
    source_id: int | None = None
    width: int | None = None
    height: int | None = None
    normalised: bool = False
    is_stem: bool = False


@dataclass(frozen=True, slots=True)
class Category:
    """What objects can be.

    Attributes:
        category_id: Its number.
        name: Its name.
        attributes: What else COCO says of it, such as its supercategory, as a JSON object; empty where that is nothing.
    """

    category_id: int
    name: str
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object.

    Attributes:
        place: Where it stands.
        image: The reference of its image, or its name.
        prompt: What it is asked for with; its id and category may be missing.
        score: A detector's.
        has_mask: It has a mask, whether or not masks are taken.
    """

    place: Place
    image: str
    prompt: Prompt = field(repr=False)
    score: float | None = None
    has_mask: bool = False


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that cannot be understood."""

    place: Place
    reason: str


Item: TypeAlias = SourceImage | Category | SourceObject | Mistake

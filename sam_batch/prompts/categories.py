"""What objects can be: the numbers and names of a source's categories, kept as they are."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.errors import ConfigError
from sam_batch.prompts.arrow import PROMPT
from sam_batch.prompts.items import Category
from sam_batch.records import PromptFailureKind as Kind


class Categories:
    """The categories of a source, and of the plan before it.

    Args:
        known: Of the plan; they keep their numbers.
    """

    def __init__(self, known: Sequence[Category] = ()) -> None:
        self._by_id = {category.category_id: category for category in known}
        self._is_closed = False  # the source has a list of its own, and what is not in it is a mistake

    def add(self, category: Category) -> None:
        """Take one of the source's own list.

        Raises:
            ConfigError: Its number has another name.
        """
        self._is_closed = True
        other = self._by_id.setdefault(category.category_id, category)
        if other.name != category.name:
            raise ConfigError(
                f"prompts.uri: category {category.category_id} is {category.name!r} here and {other.name!r} elsewhere "
                "(in another file, or in the output's plan); number them alike, or use another output"
            )

    def __iter__(self) -> Iterator[Category]:
        return iter(self._by_id.values())

    def complete(self, prompts: pa.StructArray) -> pa.StructArray:
        """Give each prompt the number and the name of its category; one that does not exist is its fault.

        Args:
            prompts: `arrow.PROMPT`, with either, both or neither.
        """
        columns = dict(zip(PROMPT.names, prompts.flatten(), strict=True))
        ids, names = columns["category_id"], columns["category"]
        if not self._is_closed:
            self._take_up(ids, names)
        own = list(self._by_id.values())
        own_ids = pa.array([category.category_id for category in own], pa.int64())
        own_names = pa.array([category.name for category in own], pa.string())
        by_id, by_name = pc.index_in(ids, value_set=own_ids), pc.index_in(names, value_set=own_names)
        columns["category_id"] = pc.coalesce(ids, own_ids.take(by_name))
        columns["category"] = pc.coalesce(names, own_names.take(by_id))
        unknown = pc.or_(
            pc.and_(pc.is_valid(ids), pc.is_null(by_id)),
            pc.and_(pc.is_null(ids), pc.and_(pc.is_valid(names), pc.is_null(by_name))),
        )
        said = pc.coalesce(pc.cast(ids, pa.string()), names)
        columns["fault"] = _with_fault(columns["fault"], unknown, said)
        return pa.StructArray.from_arrays(list(columns.values()), fields=list(PROMPT))

    def _take_up(self, ids: pa.Array, names: pa.Array) -> None:
        """Where the source has no list, its objects make one: numbers without a name are called by their number."""
        pairs = pa.table({"id": ids, "name": names}).group_by(["id", "name"], use_threads=False).aggregate([])
        known = {category.name for category in self._by_id.values()}
        for pair in pairs.to_pylist():
            category_id, name = pair["id"], pair["name"]
            if category_id is not None and category_id not in self._by_id:
                self._by_id[category_id] = Category(category_id, str(category_id) if name is None else name)
            elif category_id is None and name is not None and name not in known:
                category_id = max(self._by_id, default=0) + 1
                self._by_id[category_id] = Category(category_id, name)
            known.add(name)


def _with_fault(faults: pa.StructArray, unknown: pa.BooleanArray, said: pa.StringArray) -> pa.StructArray:
    unknown = pc.and_(unknown, pc.is_null(faults))
    kinds, messages = faults.flatten()  # unlike `field`, null where the fault is
    message = pc.binary_join_element_wise("category ", said, " is not in the source's list of categories", "")
    kind = pc.if_else(unknown, Kind.UNKNOWN_CATEGORY.value, kinds)
    message = pc.if_else(unknown, message, messages)
    return pa.StructArray.from_arrays([kind, message], fields=list(PROMPT.field("fault").type), mask=pc.is_null(kind))

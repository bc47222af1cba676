"""An output as everybody reads it: its plan, which shards are done, their rows, and what is said beside them.

It needs neither torch nor Ray. Whose a file is and what may be written, `output.ownership` says; how a shard becomes
visible, `output.parts`.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, Storage, open_storage, shown
from sam_batch.errors import JobError, NotFoundError, OutputError
from sam_batch.output import layout, schema
from sam_batch.output.fingerprint import FILTER, digest
from sam_batch.output.plan import Plan, committed_shards, read_plan
from sam_batch.output.summary import Summary
from sam_batch.segment.ahead import ahead
from sam_batch.wording import counted

_Of = TypeVar("_Of")
_Read = TypeVar("_Read")
AHEAD = 16  # parts read at once: object stores answer slowly, not narrowly
PLANNED = ("image_id", "key", "uri")  # the columns a part shares with the plan


class Output:
    """A folder or prefix that holds a job's results, or will.

    Attributes:
        storage: Where it lies.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @classmethod
    def at(cls, uri: str, config: StorageConfig) -> "Output":
        """The output at a URI."""
        return cls(open_storage(uri, config))

    def plan(self) -> Plan | None:
        """The plan, or None before the first run.

        Raises:
            OutputError: A file has the name of a part of the plan, and is none of it.
        """
        return read_plan(self.storage)

    def require_plan(self) -> Plan:
        """The plan, for those who only look at results.

        Raises:
            OutputError: There is none.
        """
        plan = self.plan()
        if plan is None:
            raise OutputError(f"output.uri: {shown(self.storage.root)} holds no plan of a job")
        return plan

    def done(self) -> set[int]:
        """The shards whose part exists: exactly these are done."""
        return committed_shards(self.storage)

    def committed(self) -> dict[int, Entry]:
        """The same shards, each with its part as it is listed."""
        listed = ((layout.part_number(entry.key), entry) for entry in self.storage.list(layout.ANNOTATIONS, False))
        return {number: entry for number, entry in listed if number is not None}

    def require_finished(self, plan: Plan) -> set[int]:
        """The shards, for those who work on the whole.

        Raises:
            OutputError: Some are not done; says what finishes them.
        """
        done = self.done()
        missing = plan.pending(done)
        if missing:
            remedy = "the `sam-batch filter` that began it, given again," if FILTER in plan.fingerprint else "a run"
            shards = counted(plan.shard_count, "shard")
            raise OutputError(f"output.uri: {len(missing)} of {shards} not done yet; {remedy} finishes them")
        return done

    def parts(self, plan: Plan, shards: Collection[int]) -> Iterator[pa.Table]:
        """The committed rows, shard by shard, in the order of the plan: all but those of images that count no more.

        `uri` is where an image was listed last.

        Args:
            plan: Of this output.
            shards: Done ones.

        Raises:
            JobError: A part is not of this plan: a worker of a killed run may outlive the output it worked for.
        """
        for part in self.whole_parts(plan, shards):
            if len(plan.retired):
                part = part.filter(pa.array(~np.isin(part["image_id"], plan.retired)))
            yield plan.readdressed(part)

    def whole_parts(
        self, plan: Plan, shards: Collection[int], columns: pa.Schema = schema.ANNOTATION_SCHEMA
    ) -> Iterator[pa.Table]:
        """Likewise, with the rows of images that count no more, and as they are stored: `uri` is the plan's.

        `schema.CANDIDATE_SCHEMA` asks for the candidates too.
        """
        fingerprint = digest(plan.fingerprint)
        keys = (layout.part_key(layout.ANNOTATIONS, shard) for shard in plan.in_order(shards))
        for planned, data in zip(plan.shards(shards), self._ahead(self.storage.read, keys), strict=True):
            key = layout.part_key(layout.ANNOTATIONS, planned["shard"][0].as_py())
            part = schema.read_part(data, columns)
            made_with = schema.part_metadata(part).get("sam_batch.fingerprint")
            if made_with != fingerprint or not part.select(PLANNED).equals(planned.select(PLANNED)):
                raise self._foreign(key)
            yield part

    def _ahead(self, read: Callable[[_Of], _Read], wanted: Iterable[_Of]) -> Iterator[_Read]:
        """What is read of each, in order, some of it before it is asked for."""
        with ThreadPoolExecutor(AHEAD) as pool:
            try:
                for result in ahead(read, wanted, pool, AHEAD):
                    yield result()
            finally:
                pool.shutdown(cancel_futures=True)

    def refuse_foreign_parts(self, plan: Plan) -> None:
        """Refuse parts of shards that were never planned.

        Raises:
            JobError: Names one.
        """
        for shard in sorted(self.done() - set(range(plan.shard_count))):
            raise self._foreign(layout.part_key(layout.ANNOTATIONS, shard))

    def failed(self, plan: Plan) -> list[pa.Table]:
        """The plan's rows of failed images, by shard, from the parts themselves."""
        done = self.done()
        found = []
        for rows, part in zip(plan.shards(done), self.parts(plan, done), strict=True):
            ids = part.filter(pc.equal(part["status"], "failed"))["image_id"]
            failed = rows.filter(pc.is_in(rows["image_id"], value_set=ids.combine_chunks()))
            if failed.num_rows:
                found.append(failed)
        return found

    def mark(self, plan: Plan) -> str:
        """A digest of what counts are made of: the plan, what became of its images, and the parts as they are listed.

        Two equal marks mean equal counts, with no part read. Empty where the storage does not tell when a part changed.
        """
        listed = sorted(self.storage.list(layout.ANNOTATIONS, recursive=False), key=lambda entry: entry.key)
        if any(None in (entry.size, entry.modified) for entry in listed):
            return ""
        mark = hashlib.sha256(
            f"{digest(plan.fingerprint)} {plan.rows.num_rows} {sorted(plan.changes.items())}".encode()
        )
        for entry in listed:
            mark.update(f"{entry.key} {entry.size} {entry.modified}\n".encode())
        return mark.hexdigest()

    def metrics_of(self, shards: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The same of many, some of them read ahead."""
        return self._ahead(self.metrics, shards)

    def metrics(self, shard: int) -> dict[str, Any]:
        """Counts and times of a done shard; nothing where they are gone, since they are no result."""
        return self._json(layout.metrics_key(shard))

    def summary(self) -> dict[str, Any]:
        """What the last run said when it ended; nothing if none did."""
        return self._json(layout.SUMMARY)

    def config(self) -> str:
        """The effective configuration of the last run, as YAML; empty where it is gone."""
        return self._text(layout.CONFIG)

    def _json(self, key: str) -> dict[str, Any]:
        try:
            value = json.loads(self._text(key) or "{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _text(self, key: str) -> str:
        try:
            return self.storage.read(key).decode(errors="replace")
        except NotFoundError:
            return ""

    def _foreign(self, key: str) -> JobError:
        return JobError(
            f"{self.storage.root}/{key}: is of another job, of other settings or images; delete this file, then the "
            "same command does what is missing"
        )


def is_counted(output: Output, plan: Plan, summary: Summary) -> bool:
    """Whether a run has counted just these parts and no part has changed since; then the summary has its counts."""
    told = output.summary()
    mark = told.get("counted")
    if not mark or mark != output.mark(plan):
        return False
    summary.restore(told)
    summary.counted = mark
    return True

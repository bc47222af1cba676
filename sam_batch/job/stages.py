"""What happens to a shard: load, segment, write. Each takes one shard as an Arrow table.

The same callables run in Ray's workers and in a plain loop; nothing here imports Ray. A bad image becomes a `failed`
row here and harms no neighbour; a broken engine raises EngineError; storage that fails raises StorageError.

A table in flight is `schema.LOADED_SCHEMA` or `schema.SEGMENTED_SCHEMA`, with a `Ticket`.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from sam_batch.data import pixels
from sam_batch.data.storage import open_storage, read_uri
from sam_batch.job.boundary import attempt, attempt_on
from sam_batch.job.notes import noted
from sam_batch.job.pictures import IO_THREADS, draw, write_pictures
from sam_batch.job.spec import JobSpec
from sam_batch.output import schema
from sam_batch.output.parts import Receipt, commit, merge_into_part
from sam_batch.records import ImageRef, ImageResult, LoadedImage, Stage, Status
from sam_batch.segment.ahead import ahead, helpers
from sam_batch.segment.views import cut_views

if TYPE_CHECKING:
    from sam_batch.engine.protocol import Embeddings
    from sam_batch.segment.candidates import Candidate

TICKET = b"sam_batch.ticket"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What accompanies a shard on its way, in the metadata of its table.

    Attributes:
        shard: Its number.
        load_seconds: Time its load took.
        segment_seconds: Time its segmentation took.
        notes: What its workers warned of.
    """

    shard: int
    load_seconds: float = 0.0
    segment_seconds: float = 0.0
    notes: Sequence[str] = ()

    def attach(self, table: pa.Table) -> pa.Table:
        """The table with this ticket."""
        return table.replace_schema_metadata({TICKET: json.dumps(asdict(self))})

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """The ticket that a table carries."""
        return cls(**json.loads(table.schema.metadata[TICKET]))


def load(shard: pa.Table, job: JobSpec) -> pa.Table:
    """Read and decode a shard's images and cut them into views.

    Args:
        shard: `schema.PLAN_SCHEMA`; rows of one shard.
        job: The job.

    Returns:
        `schema.LOADED_SCHEMA` with a ticket; images that failed carry their failure.
    """
    started = time.perf_counter()
    rows = shard.to_pylist()
    refs = [ImageRef(row["image_id"], row["key"], row["uri"], row["size"]) for row in rows]
    notes: list[str] = []
    with noted(notes), ThreadPoolExecutor(IO_THREADS) as pool:
        loaded = list(pool.map(lambda ref: _load_image(ref, job), refs))
    ticket = Ticket(rows[0]["shard"], load_seconds=time.perf_counter() - started, notes=notes)
    return ticket.attach(schema.loaded_to_table(loaded))


def _load_image(ref: ImageRef, job: JobSpec) -> LoadedImage | ImageResult:
    def read() -> bytes:
        return read_uri(ref.uri, job.config.storage, job.config.input.max_bytes)

    data = attempt(ref, Stage.LOAD, read)
    if isinstance(data, ImageResult):
        return data
    sha256 = hashlib.sha256(data).hexdigest()

    def decode() -> LoadedImage:
        image = pixels.decode(data, job.config.input.max_pixels)
        height, width = image.shape[:2]
        views = cut_views(image, job.config.generator, job.checkpoint.image_side)
        return LoadedImage(ref, height, width, sha256, data, views)

    return attempt(ref, Stage.LOAD, decode, sha256=sha256)


class Segmenter:
    """The segment stage: one engine, held for the life of its worker.

    Beside a GPU threads help: while it finds an image's masks, the next views are copied to it, and the masks of the
    image before are cleaned and encoded. Beside a CPU one thing is done after the other.
    """

    def __init__(self, job: JobSpec, threads: int | None = None) -> None:
        # Imported here, where an engine is needed: torch takes seconds, and loaders and writers do without.
        from sam_batch.engine import factory
        from sam_batch.segment import embeddings, everything

        self._generator = job.config.generator
        self._notes: list[str] = []  # of all its life: the shard that was to bring one may be lost
        with noted(self._notes):
            self._engine = factory.build(job.engine, job.checkpoint, threads=threads)
        self._embedder = embeddings.Embedder(self._engine)
        self._finder = everything.Finder(self._engine, self._generator)
        self._annotations = everything.conclude
        self._pool = helpers(self._engine.spec.on_gpu)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Find the masks of a loaded shard.

        Args:
            table: What `load` returned.

        Returns:
            `schema.SEGMENTED_SCHEMA` with the ticket; pixels stay behind.

        Raises:
            EngineError: The engine is broken; no row is lost if the shard is tried again.
        """
        started = time.perf_counter()
        images = schema.table_to_loaded(table)
        results = self._results([image for image in images if isinstance(image, LoadedImage)])
        with noted(self._notes):
            done = [(image, b"") if isinstance(image, ImageResult) else (next(results), image.data) for image in images]
        ticket = Ticket.of(table)
        notes = [*ticket.notes, *self._notes]
        ticket = replace(ticket, segment_seconds=time.perf_counter() - started, notes=notes)
        return ticket.attach(schema.segmented_to_table(done))

    def _results(self, images: Sequence[LoadedImage]) -> Iterator[ImageResult]:
        """Each image's result; beside a GPU the next image's masks are found before it is handed out."""
        embeddings = self._embedder.embed([image.views for image in images], self._pool)
        found = map(self._find, images, embeddings)
        for result in ahead(self._conclude, zip(images, found, strict=True), self._pool):
            yield result()

    def _find(self, image: LoadedImage, embeddings: "Iterable[Embeddings]") -> "list[Candidate] | ImageResult":
        size_hw = (image.height, image.width)
        return attempt_on(image, Stage.SEGMENT, lambda: self._finder.find(image.views, embeddings, size_hw))

    def _conclude(self, pair: "tuple[LoadedImage, list[Candidate] | ImageResult]") -> ImageResult:
        image, found = pair
        if isinstance(found, ImageResult):
            return found

        def work() -> ImageResult:
            annotations = self._annotations(found, (image.height, image.width), self._generator)
            status = Status.OK if annotations else Status.EMPTY
            return ImageResult(image.ref, status, image.height, image.width, image.sha256, tuple(annotations))

        return attempt_on(image, Stage.SEGMENT, work)

    def close(self) -> None:
        """Free the engine."""
        if self._pool is not None:
            self._pool.shutdown()
        self._engine.close()


def write(table: pa.Table, job: JobSpec, again: bool = False, threads: int = IO_THREADS) -> Receipt:
    """Write a shard's pictures, then commit it by creating its part.

    Args:
        table: What `Segmenter` returned: all rows of one shard, or with `again` those that are done once more.
        job: The job.
        again: Put the rows into the existing part instead of creating it. For the holder of the lease alone.
        threads: Images that are drawn at once, each with its pixels in memory.

    Returns:
        What was done here: with `again`, of the rows of the table alone.

    Raises:
        StorageError: The output cannot be written.
    """
    started = time.perf_counter()
    ticket = Ticket.of(table)
    storage = open_storage(job.config.output.uri, job.config.storage)
    notes = list(ticket.notes)
    with noted(notes):
        results = write_pictures(schema.table_to_segmented(table), ticket.shard, job, storage, threads, again)
    rows = merge_into_part(storage, ticket.shard, results) if again else results
    storage.flush()  # the pictures are on the disk before the part that names them
    seconds = (ticket.load_seconds, ticket.segment_seconds, time.perf_counter() - started)
    receipt = Receipt.of(ticket.shard, results, seconds, notes)
    commit(storage, receipt, rows, job.metadata(), replace=again)
    return receipt


def draw_in_vain(table: pa.Table, job: JobSpec) -> None:
    """Draw one image's pictures as `write` does, and keep none: it shows whether a process survives that."""
    ((result, data),) = schema.table_to_segmented(table)
    attempt(result.ref, Stage.WRITE, lambda: list(draw(result, data, job)))

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
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from sam_batch.data.storage import Storage, open_storage
from sam_batch.errors import FailureKind, ImageError, OutageError, StorageError
from sam_batch.job.boundary import attempt, attempt_on
from sam_batch.job.deadline import Renew, never
from sam_batch.job.decoders import Decoder, decoders_here
from sam_batch.job.notes import noted
from sam_batch.job.outage import Reader
from sam_batch.job.pictures import draw, write_pictures
from sam_batch.job.room import IO_THREADS
from sam_batch.job.spec import JobSpec
from sam_batch.output import layout, schema
from sam_batch.output.parts import Receipt, commit, merge_into_part
from sam_batch.prompts.frame import Annotated, Shot, place
from sam_batch.records import Failure, ImageRef, ImageResult, LoadedImage, Stage
from sam_batch.segment.ahead import ahead, helpers
from sam_batch.segment.algorithm import Algorithm, open_algorithm

if TYPE_CHECKING:
    from sam_batch.engine.protocol import Embeddings, Engine

TICKET = b"sam_batch.ticket"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What accompanies a shard on its way, in the metadata of its table.

    Attributes:
        shard: Its number.
        load_seconds: Time its load took.
        segment_seconds: Time its segmentation took.
        notes: What its workers warned of.
        postprocessing: How its masks were made, as `kernels.choose.describe` says it.
        outage: Why its images could not be read, and were not held against them; then the table has no rows.
    """

    shard: int
    load_seconds: float = 0.0
    segment_seconds: float = 0.0
    notes: Sequence[str] = ()
    postprocessing: Sequence[str] = ()
    outage: str = ""

    def attach(self, table: pa.Table) -> pa.Table:
        """The table with this ticket."""
        return table.replace_schema_metadata({TICKET: json.dumps(asdict(self))})

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """The ticket that a table carries."""
        return cls(**json.loads(table.schema.metadata[TICKET]))


def load(shard: pa.Table, job: JobSpec, renew: Renew = never, at_once: int | None = None) -> pa.Table:
    """Read and decode a shard's images and cut them into views.

    Args:
        shard: `schema.PLAN_SCHEMA`; rows of one shard.
        job: The job.
        renew: Gives the next image time.
        at_once: Images that are decoded side by side; None is one a CPU.

    Returns:
        `schema.LOADED_SCHEMA` with a ticket; images that failed carry their failure. Where a store does not answer,
        no rows, and the ticket says why: Ray would drop a task that raises.

    Raises:
        JobError: Nothing can be decoded on this machine.
    """
    started = time.perf_counter()
    refs = schema.refs(shard)
    notes: list[str] = []
    reader, decoder = Reader(job), Decoder(job, renew, at_once or decoders_here())
    loaded: list[LoadedImage | ImageResult] = []
    outage = ""
    try:
        with noted(notes), ThreadPoolExecutor(IO_THREADS) as pool:
            prompts = shard["prompts"].to_pylist()
            loaded += pool.map(lambda ref, given: _load_image(ref, given, job, reader, decoder), refs, prompts)
    except OutageError as error:
        outage = str(error)
    ticket = Ticket(shard["shard"][0].as_py(), load_seconds=time.perf_counter() - started, notes=notes, outage=outage)
    return ticket.attach(schema.loaded_to_table(loaded))


def _load_image(
    ref: ImageRef, given: dict[str, Any] | None, job: JobSpec, reader: Reader, decoder: Decoder
) -> LoadedImage | ImageResult:
    data = attempt(ref, Stage.LOAD, lambda: reader.read(ref.uri))
    if isinstance(data, ImageResult):
        return data
    sha256 = hashlib.sha256(data).hexdigest()

    def decode() -> LoadedImage | Failure:
        if ref.prompts == ():
            raise ImageError(FailureKind.NO_PROMPTS, "it carries no prompt, and prompts.without is fail")
        image = decoder.decode(data, prompted=given is not None)
        if isinstance(image, Failure):
            return image
        prompts = None
        if given is not None:
            annotated = Annotated(given["width"], given["height"], given["normalised"])
            shot = Shot(image.height, image.width, image.orientation)
            prompts = place(ref.prompts or (), annotated, shot, job.config.prompts.frame)
        return LoadedImage(
            ref, image.height, image.width, sha256, data, image.views, notes=image.notes, prompts=prompts
        )

    return attempt(ref, Stage.LOAD, decode, sha256=sha256)


def open_segment_stage(job: JobSpec, threads: int | None = None) -> "SegmentStage":
    """Build the job's engine and algorithm in this process, and the stage that holds them.

    Args:
        job: The job.
        threads: CPU threads of the engine; None leaves torch's own number.

    Raises:
        ConfigError, EngineError: As `engine.factory.build` and `segment.algorithm.open_algorithm` do.
    """
    # Imported here, where an engine is needed: torch takes seconds, and loaders and writers do without.
    from sam_batch.engine import factory

    notes: list[str] = []
    with noted(notes):
        engine = factory.build(job.engine, job.checkpoint, threads=threads)
        algorithm = open_algorithm(engine, job.config)
    return SegmentStage(engine, algorithm, pool=helpers(engine.spec.on_gpu), notes=notes)


class SegmentStage:
    """The segment stage: one engine and one algorithm, held for the life of their worker.

    Beside a GPU threads help: while it finds an image's masks, the next views are copied to it, and the masks of the
    image before are cleaned and encoded. Beside a CPU one thing is done after the other.

    Args:
        engine: Any; the stage closes it.
        algorithm: Over that engine.
        pool: The threads that help, of `segment.ahead.helpers`; None does one thing after the other.
        views_at_once: That are embedded together; None takes as many as memory allows.
        notes: What was warned of while the engine was built.
    """

    def __init__(
        self,
        engine: "Engine",
        algorithm: Algorithm[Any],
        *,
        pool: ThreadPoolExecutor | None = None,
        views_at_once: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        from sam_batch.segment.embeddings import Embedder  # imports torch

        self._engine, self._algorithm, self._pool = engine, algorithm, pool
        self._embedder = Embedder(engine, views_at_once)
        self._notes = [*notes]  # of all its life: the shard that was to bring one may be lost

    def __call__(self, table: pa.Table, renew: Renew = never) -> pa.Table:
        """Find the masks of a loaded shard.

        Args:
            table: What `load` returned.
            renew: Gives the next image time.

        Returns:
            `schema.SEGMENTED_SCHEMA` with the ticket; pixels stay behind.

        Raises:
            EngineError: The engine is broken; no row is lost if the shard is tried again.
        """
        from sam_batch.masks.kernels import choose  # imports torch

        started = time.perf_counter()
        images = schema.table_to_loaded(table)
        loaded = [image for image in images if isinstance(image, LoadedImage)]
        results = self._segment(loaded)
        most_views = max((len(image.views) for image in loaded), default=1)  # the next image's may be in the making
        done: list[tuple[ImageResult, bytes]] = []
        with noted(self._notes):
            for image in images:
                renew(most_views)
                done.append((image, b"") if isinstance(image, ImageResult) else (next(results), image.data))
            ways = [choose.describe(self._engine.spec.device)]
        ticket = Ticket.of(table)
        notes = [*ticket.notes, *self._notes]
        seconds = time.perf_counter() - started
        ticket = replace(ticket, segment_seconds=seconds, notes=notes, postprocessing=ways)
        return ticket.attach(schema.segmented_to_table(done))

    def _segment(self, images: Sequence[LoadedImage]) -> Iterator[ImageResult]:
        """Each image's result; beside a GPU the next image's masks are found before it is handed out."""

        def find(image: LoadedImage, embeddings: "Iterable[Embeddings]") -> Any:
            return attempt_on(image, Stage.SEGMENT, lambda: self._algorithm.find(image, embeddings))

        def conclude(pair: tuple[LoadedImage, Any]) -> ImageResult:
            image, found = pair
            if isinstance(found, ImageResult):  # it failed
                return found
            return attempt_on(image, Stage.SEGMENT, lambda: self._algorithm.conclude(image, found))

        embeddings = self._embedder.embed([image.views for image in images], self._pool)
        found = map(find, images, embeddings)  # lazily: an image is found when its turn comes
        for result in ahead(conclude, zip(images, found, strict=True), self._pool):
            yield result()

    def close(self) -> None:
        """Free the engine."""
        if self._pool is not None:
            self._pool.shutdown()
        self._engine.close()


def write(
    table: pa.Table, job: JobSpec, again: bool = False, threads: int = IO_THREADS, renew: Renew = never
) -> Receipt:
    """Write a shard's pictures, then commit it by creating its part.

    Args:
        table: What `SegmentStage` returned: all rows of one shard, or with `again` those that are done once more.
        job: The job.
        again: Put the rows into the existing part instead of creating it. For the holder of the lease alone.
        threads: Images that are drawn at once, each with its pixels in memory.
        renew: Gives the next image time.

    Returns:
        What was done here: with `again`, of the rows of the table alone.

    Raises:
        StorageError: The output cannot be written, or is gone.
    """
    started = time.perf_counter()
    ticket = Ticket.of(table)
    if ticket.outage:
        return Receipt(ticket.shard, outage=ticket.outage)
    storage = open_storage(job.config.output.uri, job.config.storage)
    _require_plan(storage, job)
    notes = list(ticket.notes)
    with noted(notes):
        results = write_pictures(schema.table_to_segmented(table), ticket.shard, job, storage, threads, again, renew)
    rows = merge_into_part(storage, ticket.shard, results) if again else results
    storage.flush()  # the pictures are on the disk before the part that names them
    seconds = (ticket.load_seconds, ticket.segment_seconds, time.perf_counter() - started)
    receipt = Receipt.of(ticket.shard, results, seconds, notes, ticket.postprocessing)
    _require_plan(storage, job)
    commit(storage, receipt, rows, job.metadata(), replace=again, candidates=job.config.output.candidates)
    return receipt


def _require_plan(storage: Storage, job: JobSpec) -> None:
    """Refuse to begin an output anew that somebody has deleted: to write a file makes its folders, too."""
    if job.adopted and not storage.exists(layout.part_key(layout.PLAN, 0)):
        raise StorageError(f"{storage.root}: the plan is gone; somebody has deleted this output, or it is not mounted")


def draw_in_vain(table: pa.Table, job: JobSpec) -> None:
    """Draw one image's pictures as `write` does, and keep none: it shows whether a process survives that."""
    ((result, data),) = schema.table_to_segmented(table)
    attempt(result.ref, Stage.WRITE, lambda: list(draw(result, data, job)))

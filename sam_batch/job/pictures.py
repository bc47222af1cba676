"""The pictures of a shard: drawn from its rows and the encoded bytes, written under names that depend on keys alone."""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config_output import OutputConfig
from sam_batch.data import pixels
from sam_batch.data.storage import Storage, open_storage, shown
from sam_batch.errors import FailureKind, ImageError, OutageError, StorageError
from sam_batch.job.boundary import attempt_on
from sam_batch.job.deadline import Renew, never
from sam_batch.job.outage import Reader
from sam_batch.job.room import IO_THREADS, bytes_of, pixel_room
from sam_batch.job.spec import Pictured
from sam_batch.output import layout, palette, render, schema
from sam_batch.output.parts import Receipt
from sam_batch.output.tar import tar_bytes, tar_members
from sam_batch.records import ImageResult, Stage, Status

Picture = tuple[str, bytes]  # key in the output, encoded picture


def write_pictures(
    segmented: Sequence[tuple[ImageResult, bytes]],
    shard: int,
    job: Pictured,
    storage: Storage,
    threads: int = IO_THREADS,
    again: bool = False,
    renew: Renew = never,
) -> list[ImageResult]:
    """Draw and write every image's pictures.

    Args:
        segmented: Results and the images' encoded bytes.
        shard: Names the shard's tar where segments are packed.
        job: The job.
        storage: The output.
        threads: Images that are drawn at once, each with its pixels in memory.
        again: A shard's tar keeps what it holds of other images.
        renew: Gives the next image time.

    Returns:
        The results in the same order, `failed` where a picture could not be drawn.

    Raises:
        StorageError: The output cannot be written.
    """
    output = job.config.output

    def one_image(pair: tuple[ImageResult, bytes]) -> tuple[ImageResult, list[Picture]]:
        result, data = pair
        with pixel_room().taken(bytes_of(result.height * result.width)):
            drawn = attempt_on(result, Stage.WRITE, lambda: list(draw(result, data, job)))
        if isinstance(drawn, ImageResult):
            return drawn, []
        for key, picture in drawn:
            if not _is_packed(key, output):
                storage.write(key, picture)
        return result, [picture for picture in drawn if _is_packed(picture[0], output)]

    with ThreadPoolExecutor(threads) as pool:
        written = []
        for image in pool.map(one_image, segmented):
            written.append(image)
            renew(1)
    packed = [(_inside_tar(key), picture) for _, pictures in written for key, picture in pictures]
    if packed:
        tar = layout.tar_key(shard)
        kept = _of_other_images(storage, tar, [result for result, _ in written]) if again else []
        put = storage.replace if again else storage.write  # what is kept, nothing else would make again
        put(tar, tar_bytes([*kept, *packed]))
    return [result for result, _ in written]


def _of_other_images(storage: Storage, tar: str, results: Sequence[ImageResult]) -> list[Picture]:
    """What a tar holds, if it is there, but for the pictures of these images."""
    folders = {layout.cutouts_name(result.ref.key) for result in results}
    try:
        members = list(tar_members(storage.read(tar))) if storage.exists(tar) else []
    except tarfile.TarError as error:
        raise StorageError(
            f"{tar}: is damaged ({error}); delete it, and what it held of other images is lost"
        ) from error
    return [(name, picture) for name, picture in members if layout.cutout_folder(name) not in folders]


def draw(result: ImageResult, data: bytes, job: Pictured) -> Iterator[Picture]:
    """The pictures of one image; none of a failed one."""
    output = job.config.output
    if result.status is Status.FAILED:
        return
    key, masks, size = result.ref.key, result.annotations, (result.height, result.width)
    if output.label_masks.enabled:
        yield layout.label_mask_key(key), render.label_mask(masks, *size)
    image = pixels.decode(data, job.config.input).rgb_HW3 if _shows_photographs(output) else None
    if output.color_masks.enabled:
        under = image if output.color_masks.over_image else None
        picture = render.color_mask(under, masks, *size, _style(job), output.color_masks.format)
        yield layout.color_mask_key(key, output.color_masks.format), picture
    if output.segments.enabled and image is not None:
        for mask_id, picture in render.segment_cutouts(image, masks, output.segments.min_area, output.segments.frame):
            yield f"{layout.SEGMENTS}/{layout.cutout_name(key, mask_id)}", picture


def _shows_photographs(output: OutputConfig) -> bool:
    return output.segments.enabled or (output.color_masks.enabled and output.color_masks.over_image)


def redraw(shard: pa.Table, job: Pictured, renew: Renew = never) -> Receipt:
    """Draw the pictures that a committed shard lacks, from its rows, which stay as they are.

    A picture that is there is not drawn again, so that a run that was interrupted goes on.

    Args:
        shard: `schema.PLAN_SCHEMA`; the images of one shard that count, `uri` where they are now.
        job: The job; of pictures, those to draw are enabled.
        renew: Gives the next image time.

    Returns:
        How many images have them now (`ok`), how many have not (`failed`), and why in its notes; of a store that does
        not answer, the outage.

    Raises:
        StorageError: The output cannot be read or written.
    """
    number = shard["shard"][0].as_py()
    storage = open_storage(job.config.output.uri, job.config.storage)
    part = schema.read_part(storage.read(layout.part_key(layout.ANNOTATIONS, number)))
    part = part.filter(pc.is_in(part["image_id"], value_set=shard["image_id"].combine_chunks()))
    results = schema.table_to_results(part.set_column(part.column_names.index("uri"), "uri", shard["uri"]))
    return draw_lacking(results, number, job, storage, renew)


def draw_lacking(
    results: Sequence[ImageResult], number: int, job: Pictured, storage: Storage, renew: Renew = never
) -> Receipt:
    """Draw the pictures of a shard's rows that are not there; see `redraw`.

    Args:
        results: Rows of images that count, `uri` where they are now.
        number: Of the shard.
        job: Of pictures, those to draw are enabled.
        storage: Where they lie.
        renew: Gives the next image time.
    """
    lacking = [result for result in results if not is_drawn(result, number, job.config.output, storage)]
    reader = Reader(job)
    try:
        with ThreadPoolExecutor(IO_THREADS) as pool:
            read = list(pool.map(lambda result: _with_bytes(result, job, reader), lacking))
    except OutageError as error:
        return Receipt(number, outage=str(error))
    faults = [image for image in read if isinstance(image, ImageResult)]
    images = [image for image in read if not isinstance(image, ImageResult)]
    if images and not (faults and job.config.output.segments.pack == "tar"):  # a tar that is there is whole
        drawn = write_pictures(images, number, job, storage, renew=renew)
        faults += [result for result in drawn if result.failure]
    storage.flush()
    notes = [f"not drawn: {shown(fault.ref.key)}: {fault.failure.message}" for fault in faults if fault.failure]
    return Receipt(number, ok=len(results) - len(faults), failed=len(faults), notes=notes)


def is_drawn(result: ImageResult, shard: int, output: OutputConfig, storage: Storage) -> bool:
    """Whether the pictures that `draw` makes of a row are all there."""
    if result.status is Status.FAILED:
        return True
    key, segments = result.ref.key, output.segments
    wanted = [layout.label_mask_key(key)] if output.label_masks.enabled else []
    wanted += [layout.color_mask_key(key, output.color_masks.format)] if output.color_masks.enabled else []
    cut = [one.mask_id for one in result.annotations if one.area >= max(segments.min_area, 1)]
    if not (segments.enabled and cut):
        return all(map(storage.exists, wanted))
    if segments.pack == "tar":
        return all(map(storage.exists, [*wanted, layout.tar_key(shard)]))
    there = {entry.key for entry in storage.list(layout.cutouts_key(key), recursive=False)}
    return all(map(storage.exists, wanted)) and there.issuperset(
        f"{layout.SEGMENTS}/{layout.cutout_name(key, mask_id)}" for mask_id in cut
    )


def _with_bytes(result: ImageResult, job: Pictured, reader: Reader) -> tuple[ImageResult, bytes] | ImageResult:
    """A row with its image's bytes, if they are those that it was made of; with none, where none are shown."""

    def read() -> tuple[ImageResult, bytes]:
        if not _shows_photographs(job.config.output):
            return result, b""
        data = reader.read(result.ref.uri)
        if hashlib.sha256(data).hexdigest() != result.sha256:
            raise ImageError(FailureKind.READ_FAILED, "it changed since it was labelled")
        return result, data

    return attempt_on(result, Stage.WRITE, read)


def _style(job: Pictured) -> render.Style:
    wanted = job.config.output.color_masks
    return render.Style(wanted.opacity, wanted.outlines, wanted.numbers, palette.colors_of(job.adopted))


def _is_packed(key: str, output: OutputConfig) -> bool:
    return output.segments.pack == "tar" and key.startswith(f"{layout.SEGMENTS}/")


def _inside_tar(key: str) -> str:
    return key.removeprefix(f"{layout.SEGMENTS}/")

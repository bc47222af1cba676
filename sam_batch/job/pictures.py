"""The pictures of a shard: drawn from its rows and the encoded bytes, written under names that depend on keys alone."""

import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sam_batch.config_output import OutputConfig
from sam_batch.data import pixels
from sam_batch.data.storage import Storage
from sam_batch.errors import StorageError
from sam_batch.job.boundary import attempt_on
from sam_batch.job.deadline import Renew, never
from sam_batch.job.spec import JobSpec
from sam_batch.output import layout, palette, render
from sam_batch.output.tar import tar_bytes, tar_members
from sam_batch.records import ImageResult, Stage, Status

Picture = tuple[str, bytes]  # key in the output, encoded picture

IO_THREADS = 8  # reads or writes in flight in one worker: object stores answer slowly, not narrowly


def write_pictures(
    segmented: Sequence[tuple[ImageResult, bytes]],
    shard: int,
    job: JobSpec,
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


def draw(result: ImageResult, data: bytes, job: JobSpec) -> Iterator[Picture]:
    """The pictures of one image; none of a failed one."""
    output = job.config.output
    if result.status is Status.FAILED:
        return
    key, masks, size = result.ref.key, result.annotations, (result.height, result.width)
    if output.label_masks.enabled:
        yield layout.label_mask_key(key), render.label_mask(masks, *size)
    over_image = output.color_masks.over_image
    if not (output.segments.enabled or (output.color_masks.enabled and over_image)):
        image = None
    else:
        image = pixels.decode(data, job.config.input).rgb_HW3
    if output.color_masks.enabled:
        picture = render.color_mask(image if over_image else None, masks, *size, _style(job), output.color_masks.format)
        yield layout.color_mask_key(key, output.color_masks.format), picture
    if output.segments.enabled and image is not None:
        for mask_id, picture in render.segment_cutouts(image, masks, output.segments.min_area, output.segments.frame):
            yield f"{layout.SEGMENTS}/{layout.cutout_name(key, mask_id)}", picture


def _style(job: JobSpec) -> render.Style:
    wanted = job.config.output.color_masks
    return render.Style(wanted.opacity, wanted.outlines, wanted.numbers, palette.colors_of(job.adopted))


def _is_packed(key: str, output: OutputConfig) -> bool:
    return output.segments.pack == "tar" and key.startswith(f"{layout.SEGMENTS}/")


def _inside_tar(key: str) -> str:
    return key.removeprefix(f"{layout.SEGMENTS}/")

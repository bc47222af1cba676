"""Where everything lies in an output. Names depend only on shard numbers, image keys and mask numbers.

It opens nothing: which of these names exist, and whose they are, `sam_batch.output.ownership` finds out.
"""

import hashlib
import posixpath
import re
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

CONFIG = "config.yaml"
SUMMARY = "summary.json"
REPORT = "report.html"
CARD = "README.md"
LEASE = "lease.json"
WORKERS = ".workers"  # leases of workers that share a job
PROBE = ".preflight-"  # how files begin that show, for a moment, that the output can be written and is shared
PLAN = "plan"
CHANGES = "plan/changes.parquet"
ANNOTATIONS = "annotations"
METRICS = "metrics"
COLOR_MASKS = "color_masks"
LABEL_MASKS = "label_masks"
SEGMENTS = "segments"
SUFFIXES = {"png": ".png", "jpeg": ".jpg"}  # of colour masks, by output.color_masks.format
COCO = "coco"

_WORKER: Final = re.compile(rf"{re.escape(WORKERS)}/([1-9]\d*)-of-([1-9]\d*)\.json")
_PART: Final = re.compile(r"part-(\d{5,})\.(parquet|json)")
_CUTOUT: Final = re.compile(r"(.+)/(0|[1-9]\d*)\.png", re.DOTALL)

_MAX_COMPONENT: Final = 255  # bytes between two slashes, on the usual file systems
_MAX_NAME: Final = 800  # object stores allow 1024 bytes, of which a prefix needs some
_HASHED: Final = re.compile(r".*~[0-9a-f]{16}", re.DOTALL)
_UNUSABLE: Final = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")
_PLAIN_KEY: Final = r"^([A-Za-z0-9_-]+/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*$"  # `output_name` changes none of them
_PLAIN_BYTES: Final = 200
_PICTURE: Final = re.compile(r".*\.(jpe?g|jpe|jfif|mpo|png|webp|tiff?|bmp|gif|avif|hei[cf])", re.IGNORECASE | re.DOTALL)


def part_key(folder: str, number: int) -> str:
    """The Parquet part of a shard (under annotations/) or of the plan."""
    return f"{folder}/part-{number:05d}.parquet"


def metrics_key(shard: int) -> str:
    """Counts and times of a shard; not part of the result."""
    return f"{METRICS}/part-{shard:05d}.json"


def worker_lease_key(number: int, count: int) -> str:
    """The lease of one of several workers."""
    return f"{WORKERS}/{number}-of-{count}.json"


def is_worker_lease(key: str) -> bool:
    """Whether this is one."""
    return _WORKER.fullmatch(key) is not None


def worker_of(key: str) -> tuple[int, int]:
    """Its worker's number, and how many there are."""
    match = _WORKER.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is no lease of a worker")
    return int(match[1]), int(match[2])


def part_number(key: str) -> int | None:
    """The number in a part's key or its metrics', or None for any key that this program does not make."""
    folder, _, name = key.partition("/")
    match = _PART.fullmatch(name)
    number = int(match[1]) if match else -1
    makes = metrics_key(number) if folder == METRICS else part_key(folder, number)
    return number if key == makes else None


def color_mask_key(key: str, encoding: str) -> str:
    """An image's masks in colours, as png or jpeg."""
    return f"{COLOR_MASKS}/{output_name(key, SUFFIXES[encoding])}"


def label_mask_key(key: str) -> str:
    """An image's masks as numbers."""
    return f"{LABEL_MASKS}/{output_name(key, '.png')}"


def cutouts_key(key: str) -> str:
    """The folder of an image's cut-outs that lie one by one."""
    return f"{SEGMENTS}/{cutouts_name(key)}"


def cutouts_name(key: str) -> str:
    """The folder of an image's cut-outs, under segments/ or in its shard's tar."""
    return output_name(key, "")


def cutout_name(key: str, mask_id: int) -> str:
    """One cut-out, under segments/ or in its shard's tar."""
    return f"{cutouts_name(key)}/{mask_id}.png"


def tar_key(shard: int) -> str:
    """All cut-outs of a shard, where they are packed."""
    return f"{SEGMENTS}/shard-{shard:05d}.tar"


def cutout_folder(name: str) -> str | None:
    """The folder that a cut-out's name lies in, or None for a name that no cut-out has."""
    match = _CUTOUT.fullmatch(name)
    return match[1] if match else None


def output_name(key: str, suffix: str, reserved: re.Pattern[str] | None = None) -> str:
    """Name an output of an image, by its key alone.

    The name is the key and the suffix: `a.jpg`, `a.png` and `b/a.jpg` become `a.jpg.png`, `a.png.png` and
    `b/a.jpg.png`. Different keys never share a name, and no output lies where another needs a folder. To that end a
    component of the key is replaced by what is readable of it, `~` and 16 digits of its SHA-256, if it

    * is empty, `.` or `..`, holds control characters, or is not Unicode;
    * would have more than 255 bytes, with the suffix;
    * is a folder with a picture's extension, as in `a.jpg/b.jpg` beside `a.jpg`, with the suffix, or `reserved`;
    * looks like such a replacement already.

    A name of more than 800 bytes is replaced as a whole, without its folders.

    Args:
        key: Of the image; any text.
        suffix: Of the output, such as `.png`; may be empty.
        reserved: Names that no folder may have; they are compared in lower case.

    Returns:
        A relative POSIX path of UTF-8 text, without `.` or `..`.
    """
    *folders, file = key.split("/")

    def is_usable(folder: str) -> bool:
        taken = _PICTURE.fullmatch(folder) or (suffix and folder.lower().endswith(suffix))
        return not (_is_unsafe(folder) or taken or (reserved and reserved.fullmatch(folder.lower())))

    parts = [folder if is_usable(folder) else _hashed(f"{folder}/", folder) for folder in folders]
    parts.append((_hashed(file, file, suffix) if _is_unsafe(file, suffix) else file) + suffix)
    name = "/".join(parts)
    return name if len(name.encode()) <= _MAX_NAME else _hashed(key, file, suffix) + suffix


def output_names(keys: pa.ChunkedArray, suffix: str) -> pa.ChunkedArray:
    """The same of many keys; quick where they are plain."""
    is_plain = pc.and_(pc.match_substring_regex(keys, _PLAIN_KEY), pc.less(pc.binary_length(keys), _PLAIN_BYTES))
    names = pc.binary_join_element_wise(keys, suffix, "")
    if pc.all(is_plain, min_count=0).as_py():
        return names
    others = [output_name(key, suffix) for key in keys.filter(pc.invert(is_plain)).to_pylist()]
    return pc.replace_with_mask(pa.concat_arrays(names.chunks), pc.invert(is_plain).combine_chunks(), pa.array(others))


def names_below(folder: str, keys: pa.ChunkedArray, suffix: str) -> pa.ChunkedArray:
    """The keys of such outputs in a folder."""
    return pc.binary_join_element_wise(folder, output_names(keys, suffix), "/")


def _is_unsafe(component: str, suffix: str = "") -> bool:
    return (
        component in ("", ".", "..")
        or _UNUSABLE.search(component) is not None
        or _HASHED.fullmatch(component) is not None
        or len((component + suffix).encode()) > _MAX_COMPONENT
    )


def _hashed(text: str, component: str, suffix: str = "") -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    readable = _UNUSABLE.sub("_", component).encode()
    room = _MAX_COMPONENT - len(digest) - 1 - len(suffix.encode())
    return f"{readable[:room].decode(errors='ignore')}~{digest}"


class ExportFiles(NamedTuple):
    """Which files a format of `export/` may write below the folder of its name, beside its receipt; no others.

    Attributes:
        fixed: Keys that no image gives.
        of_image: The keys that an image of this key may have; None where images have no files of their own.
        folder_of_image: The folder in which its masks are numbered, as `cutout_folder` has it.
        begins: How fixed files begin that we wrote, where other programs and people use their names too.
    """

    fixed: re.Pattern[str]
    of_image: Callable[[str], tuple[str, ...]] | None = None
    folder_of_image: Callable[[str], str] | None = None
    begins: re.Pattern[bytes] | None = None


YOLO_SPLITS: Final = ("train", "val")
YOLO_HEAD: Final = "# A data set that sam-batch exported.\n"
# YOLO's readers find labels by putting this folder's name in the place of the other; files may be called like others.
_RESERVED: Final = re.compile(r"images|labels|.*\.(txt|img)", re.DOTALL)
_NONE: Final = re.compile("(?!)")


def yolo_label_key(key: str, split: str) -> str:
    """An image's labels, in one of `YOLO_SPLITS`."""
    return f"yolo/labels/{split}/{_picture_stem(key)}.txt"


def yolo_images(split: str) -> str:
    """The folder of the images whose labels lie in one of `YOLO_SPLITS`."""
    return f"yolo/images/{split}"


def picture_key(folder: str, key: str, *, is_png: bool = False) -> str:
    """An image beside annotations: its key, with an extension once more.

    So names differ also without their last extension, by which many readers know an image.

    Args:
        folder: Of the images.
        key: Of the image.
        is_png: Whether it is written anew, as PNG.
    """
    return f"{folder}/{_picture_stem(key)}{'.png' if is_png else picture_suffix(key)}"


def picture_suffix(key: str) -> str:
    """The extension of an image, in lower case; `.img` where it has none that pictures have."""
    extension = posixpath.splitext(key)[1].lower()
    return extension if _PICTURE.fullmatch(extension) else ".img"


def panoptic_key(key: str) -> str:
    """An image's masks as numbers in three colours."""
    return picture_key(PANOPTIC, key, is_png=True)


def _picture_stem(key: str) -> str:
    longest = ".jpeg"
    return output_name(key, longest, _RESERVED).removesuffix(longest)


def _picture_keys(folder: str, key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((picture_key(folder, key), picture_key(folder, key, is_png=True))))


def sa1b_key(key: str) -> str:
    """An image's masks in the format of SA-1B."""
    return f"sa1b/{output_name(key, '.json')}"


def labelme_key(key: str) -> str:
    """An image's masks for LabelMe."""
    return f"labelme/{output_name(key, '.json')}"


def geojson_key(key: str) -> str:
    """An image's masks on the map."""
    return f"geojson/{output_name(key, '.geojson')}"


def amg_key(key: str) -> str:
    """The folder of an image's binary masks."""
    return f"amg/{output_name(key, '.masks')}"


class CocoPlace(NamedTuple):
    """Where a program looks for a COCO file and its pictures, if it has them from there."""

    file: str
    images: str | None = None

    @property
    def files(self) -> ExportFiles:
        """The names."""
        folder, file = self.images, re.compile(re.escape(self.file))
        return ExportFiles(file, lambda key: _picture_keys(folder, key)) if folder else ExportFiles(file)


PRESETS: Final = {
    "cvat": CocoPlace("cvat/annotations/instances_default.json"),
    "datumaro": CocoPlace("datumaro/annotations/instances_default.json", "datumaro/images/default"),
    "detectron2": CocoPlace("detectron2/annotations.json"),
    "mmdet": CocoPlace("mmdet/annotations.json"),
    "transformers": CocoPlace("transformers/annotations.json", "transformers/images"),
}
PANOPTIC: Final = "coco-panoptic/panoptic"
HF_HEAD: Final = "---\n# A data set that sam-batch exported.\n"

EXPORTS: Final = {
    COCO: ExportFiles(re.compile(r"coco/annotations(-\d{5,})?\.json")),
    "coco-images": ExportFiles(
        re.compile(r"coco-images/annotations(-\d{5,})?\.json"), lambda key: _picture_keys("coco-images/images", key)
    ),
    "yolo": ExportFiles(
        re.compile(r"yolo/data\.yaml"),
        lambda key: tuple(
            name
            for split in YOLO_SPLITS
            for name in (yolo_label_key(key, split), *_picture_keys(yolo_images(split), key))
        ),
        begins=re.compile(re.escape(YOLO_HEAD.encode())),
    ),
    "label-studio": ExportFiles(
        re.compile(r"label-studio/tasks-\d{5,}\.json"), begins=re.compile(rb'\[\{"data":\{"key":|\[\]\Z')
    ),
    "labelme": ExportFiles(_NONE, lambda key: (labelme_key(key), *_picture_keys("labelme", key))),
    "geojson": ExportFiles(_NONE, lambda key: (geojson_key(key),)),
    "hf": ExportFiles(
        re.compile(r"hf/(README\.md|data/train-\d{5,}\.parquet)"), begins=re.compile(re.escape(HF_HEAD.encode()))
    ),
    "coco-panoptic": ExportFiles(re.compile(r"coco-panoptic/annotations\.json"), lambda key: (panoptic_key(key),)),
    "webdataset": ExportFiles(re.compile(r"webdataset/shard-\d{5,}\.tar")),
    "sa1b": ExportFiles(_NONE, lambda key: (sa1b_key(key),)),
    "amg": ExportFiles(_NONE, lambda key: (f"{amg_key(key)}/metadata.csv",), amg_key),
    "failures": ExportFiles(
        re.compile(r"failures/failures\.csv"), begins=re.compile(rb'"key","uri","stage","kind","message"\n')
    ),
    **{name: place.files for name, place in PRESETS.items()},
}


def receipt_key(name: str) -> str:
    """What says that a format's folder is ours, and whether all is there (`claims`)."""
    return f"{name}/export.json"


class ExportNames:
    """The names that some formats give files of some images, but for receipts.

    Args:
        formats: Of `EXPORTS`.
        keys: Gives those of images; asked where a format has files of single images, and then once or twice.
    """

    def __init__(self, formats: Collection[str], keys: Callable[[], Iterable[str]]) -> None:
        self._formats, self._keys = {name: EXPORTS[name] for name in formats}, keys

    @cached_property
    def of_images(self) -> frozenset[str]:
        """The files of single images."""
        makers = [files.of_image for files in self._formats.values() if files.of_image]
        return (
            frozenset(name for key in self._keys() for make in makers for name in make(key)) if makers else frozenset()
        )

    @cached_property
    def folders(self) -> frozenset[str]:
        """Where masks are numbered."""
        makers = [files.folder_of_image for files in self._formats.values() if files.folder_of_image]
        return frozenset(make(key) for key in self._keys() for make in makers) if makers else frozenset()

    def __contains__(self, key: str) -> bool:
        """Whether an export may write this key."""
        files = self._formats.get(key.partition("/")[0])
        if files is None:
            return False
        return files.fixed.fullmatch(key) is not None or key in self.of_images or cutout_folder(key) in self.folders

"""The verb `show`: one image, labelled in this process, as a picture that lies in nobody's way.

Settings are a job's, and are refused as a job's are. Without a model among them it is the demo model with thresholds of
its own, so that a first look needs no download.
"""

import shlex
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

from sam_batch import configfile
from sam_batch.cli.arguments import split
from sam_batch.cli.places import require_free, write_new
from sam_batch.config import Config
from sam_batch.data import pixels
from sam_batch.data.storage import locate, read_uri, shown
from sam_batch.errors import ConfigError, ImageError, OutputError, StorageError
from sam_batch.library import shown as looks
from sam_batch.library.shown import Encoding
from sam_batch.output import layout
from sam_batch.records import UInt8Array
from sam_batch.wording import counted

if TYPE_CHECKING:
    from sam_batch.library.segmenter import Segmenter

DEMO: Final = {
    "model": {"name": "demo"},
    "generator": {
        "points_per_side": 16,
        "pred_iou_thresh": 0.4,
        "stability_score_thresh": 0.7,
        "mask_nms_thresh": 0.5,
        "containment_thresh": 0.9,
        "min_mask_region_area": 200,
    },
}
"""What configs/demo.yaml sets for its model."""

_ENCODINGS: Final[dict[str, Encoding]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


def read_settings(image: str, settings: list[str]) -> Config:
    """The configuration of a job over this one image.

    Args:
        image: Path or URI.
        settings: YAML files and overrides; what they say of the input's and the output's place does not count.

    Raises:
        ConfigError: Something is wrong with them, or says of a job what one image cannot have.
    """
    files, overrides = split(settings)
    placed = [text for text in overrides if text.startswith(("input.uri=", "output.uri="))]
    if placed:
        raise ConfigError(f"{placed[0]}: show takes its image as IMAGE, and where the picture goes as --to PATH")
    if Path(image).is_dir():
        job = f"input.uri={shlex.quote(image)} output.uri=OUT"
        raise ConfigError(f"{image}: is a folder, and show takes one image; for all of them: sam-batch run {job}")
    place = {"input": {"uri": image}, "output": {"uri": "not written"}}

    def load(defaults: Mapping[str, Any]) -> Config:
        return configfile.load(files, [*overrides, f"input.uri={image}"], defaults={**place, **defaults})

    config = load({})
    if "model" not in config.model_fields_set:
        config = load(DEMO)
    if config.prompts.uri is not None:
        raise ConfigError("prompts.uri: show finds everything in an image, and takes no prompts; set it to null")
    return config


def show_image(config: Config, to: str | None, *, grid: bool) -> tuple[str, Path]:
    """Label the image, write the picture.

    Args:
        config: As `read_settings` returns it.
        to: Path of the picture, which must be free; None for a new folder among the temporary files.
        grid: Three pictures side by side, of looser, the given and stricter thresholds.

    Returns:
        What there is to say, and where the picture is.

    Raises:
        SamBatchError: The settings, the image or the place cannot be used.
    """
    encoding = _encoding(to, config)
    image = _read(config)
    from sam_batch.library.segmenter import Segmenter

    segmenter = Segmenter.from_config(config)
    start = time.monotonic()
    lines, picture = _grid(segmenter, image, config, encoding) if grid else _one(segmenter, image, config, encoding)
    seconds = time.monotonic() - start

    source = PurePosixPath(locate(config.input.uris[0], config.storage).key).name
    name = source + layout.SUFFIXES[encoding]
    place = Path(mkdtemp(prefix="sam-batch-"), name) if to is None else Path(to).expanduser().absolute()
    write_new("--to", place, picture)
    (height, width), origin = image.shape[:2], segmenter.origin
    about = f"{width}x{height}, {seconds:.1f} s, model {origin.model}, {origin.precision}"
    lines[-1] += f" ({about}), picture in {shown(str(place))}"
    return "\n".join(f"{shown(source)}: {line}" for line in lines), place


def _one(segmenter: "Segmenter", image: UInt8Array, config: Config, encoding: Encoding) -> tuple[list[str], bytes]:
    masks = segmenter.everything(image, **config.generator.model_dump())
    return [counted(len(masks), "mask")], looks.drawn(masks, config.output.color_masks, encoding)


def _grid(segmenter: "Segmenter", image: UInt8Array, config: Config, encoding: Encoding) -> tuple[list[str], bytes]:
    explored = segmenter.explore(image, **config.generator.model_dump())
    lines, pictures = [], []
    for thresholds in looks.three_thresholds(config.generator):
        masks = explored.masks(**thresholds)
        lines.append(f"{looks.as_overrides(thresholds)}: {counted(len(masks), 'mask')}")
        pictures.append(looks.drawn(masks, config.output.color_masks, "png"))
    return lines, looks.side_by_side(list(zip(lines, pictures, strict=True)), encoding)


def open_picture(place: Path) -> None:
    """Show a picture on this machine's screen, in whatever opens pictures there.

    Raises:
        OutputError: Nothing here does.
    """
    if not webbrowser.open(place.as_uri()):
        raise OutputError(f"--open: nothing here opens {shown(str(place))}; it is written")


def _encoding(to: str | None, config: Config) -> Encoding:
    """What kind of picture to write; refuses a place that cannot be used before anything is done for it."""
    if to is None:
        return config.output.color_masks.format
    return _ENCODINGS[require_free("--to", to, tuple(_ENCODINGS)).suffix.lower()]


def _read(config: Config) -> UInt8Array:
    uri = locate(config.input.uris[0], config.storage).uri
    try:
        return pixels.decode(read_uri(uri, config.storage, config.input.max_bytes), config.input).rgb_HW3
    except ImageError as error:
        raise ConfigError(f"{shown(config.input.uris[0])}: {error}") from error
    except StorageError as error:
        raise ConfigError(str(error)) from error

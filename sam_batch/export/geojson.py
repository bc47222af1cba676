"""Annotation parts to GeoJSON: a file an image, its masks as polygons with holes in the image's own reference system.

Coordinates are the corners of pixels, through the image's geotransform and not projected, so that masks and image lie
on each other exactly. The system is named as the GeoJSON of 2008 does, which GDAL, QGIS and geopandas read: RFC 7946
knows longitude and latitude of WGS 84 alone, and that is what files are where the image is in EPSG:4326. Rings turn as
RFC 7946 wants them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sam_batch.config_output import OutputConfig
from sam_batch.data.readers.tiff_geo import GroundFrame, ground_frame
from sam_batch.data.storage import Storage, shown
from sam_batch.errors import ImageError, JobError
from sam_batch.export.coco_files import as_json
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.export.pictures import Pictures, some_at_once
from sam_batch.masks.areas import areas
from sam_batch.output import layout
from sam_batch.output.plan import Plan

_WGS84: Final = 4326
_SCORES: Final = ("area", "predicted_iou", "stability_score")


@contextmanager
def open_geojson(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["GeoJsonExport"]:
    """Start the files of an output; see `formats.Export`."""
    pictures = Pictures(storage, "copy", plan, "geojson needs what it says of its place")
    yield GeoJsonExport(storage, Numbers(plan, config.dataset.category), pictures)


class GeoJsonExport:
    """Images with and without masks, but failed ones."""

    def __init__(self, storage: Storage, numbers: Numbers, pictures: Pictures) -> None:
        self._storage, self._numbers, self._pictures = storage, numbers, pictures

    def add(self, part: pa.Table) -> None:
        """Write a part's files.

        Raises:
            StorageError: A file cannot be read or written.
            JobError: A picture is gone, another than was labelled, or says not where it lies.
        """
        for _ in some_at_once(self._write, decoded_rows(part)):
            pass

    def finish(self) -> list[str]:
        """There is no file over all images."""
        return []

    def _write(self, row: dict[str, Any]) -> None:
        data, _ = self._pictures.load(row)
        try:
            frame = ground_frame(data)
        except (ValueError, ImageError) as error:
            raise JobError(f"{shown(row['uri'])}: {error}; geojson is for images that lie somewhere") from error
        features = [self._feature(mask, prompt, row, frame) for mask, prompt in masks_with_prompts(row)]
        about = {"type": "FeatureCollection", "name": row["key"], "crs": _named(frame.epsg)}
        self._storage.write(layout.geojson_key(row["key"]), as_json({**about, "features": features}))

    def _feature(
        self, mask: dict[str, Any], prompt: dict[str, Any] | None, row: dict[str, Any], frame: GroundFrame
    ) -> dict[str, Any]:
        polygons = [
            [_closed(frame.of_corners(ring_n2), is_hole=place > 0) for place, ring_n2 in enumerate(rings)]
            for rings in areas(mask["counts"], row["height"], row["width"])
        ]
        number = self._numbers.annotation(row["image_id"], mask["mask_id"], prompt)
        about = {"key": row["key"], "mask_id": mask["mask_id"], "category": self._numbers.label(prompt)}
        geometry = {"type": "MultiPolygon", "coordinates": polygons}
        scores = {name: mask[name] for name in _SCORES}
        return {"type": "Feature", "id": number, "properties": {**about, **scores}, "geometry": geometry}


def _named(epsg: int) -> dict[str, Any]:
    name = "urn:ogc:def:crs:OGC:1.3:CRS84" if epsg == _WGS84 else f"urn:ogc:def:crs:EPSG::{epsg}"
    return {"type": "name", "properties": {"name": name}}


def _closed(ring_n2: NDArray[np.float64], *, is_hole: bool) -> list[list[float]]:
    """A ring whose first point ends it: outlines counterclockwise on the map, holes clockwise."""
    x, y = (ring_n2 - ring_n2[0]).T  # small numbers, of which no digits get lost
    is_counterclockwise = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0
    points: list[list[float]] = (ring_n2 if is_counterclockwise != is_hole else ring_n2[::-1]).tolist()
    return [*points, points[0]]

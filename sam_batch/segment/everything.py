"""Everything mode: all masks of one image, from a grid of points.

In float32 on the CPU the records are those of segment-anything's `SamAutomaticMaskGenerator`, in its order. What is
computed for a mask, and when, differs: what the predicted IoU drops is never up-scaled, and only what survives every
suppression is encoded. It knows no files, no model and no clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_batch.config import GeneratorConfig
from sam_batch.engine.protocol import Embeddings, Engine, Prompts, ScoredPrompts
from sam_batch.masks.geometry import points_to_view
from sam_batch.masks.grids import layer_point_grids
from sam_batch.masks.logits import Scale, stable_masks
from sam_batch.records import Annotation, View
from sam_batch.segment.candidates import (
    Candidate,
    Size,
    annotate,
    clean_regions,
    drop_cut_off,
    suppress_between_crops,
    suppress_within_crop,
)
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.filters import thin
from sam_batch.segment.memory import BatchSize
from sam_batch.segment.views import view_boxes

FloatArray: TypeAlias = NDArray[np.float64]


class _Chosen(NamedTuple):
    """Masks to be finished, on the CPU.

    Attributes:
        index_K2: int64 pairs (prompt, mask).
        iou_K: Predicted.
    """

    index_K2: Tensor
    iou_K: Tensor


def segment(
    engine: Engine, views: Sequence[View], height: int, width: int, generator: GeneratorConfig
) -> list[Annotation]:
    """Find all masks of one image.

    Args:
        engine: Any.
        views: Of the image, as `views.cut_views` made them with the same generator and the engine's image side.
        height: Of the image in pixels.
        width: Likewise.
        generator: Thresholds and grids.

    Returns:
        In the reference's order: by predicted IoU; with crops, masks of small crops first; with region clean-up,
        untouched masks first. Empty if nothing was found.

    Raises:
        EngineError: The engine is broken, or its device has too little memory.
    """
    (embeddings,) = Embedder(engine).embed([views])
    found = Finder(engine, generator).find(views, embeddings, (height, width))
    return conclude(found, (height, width), generator)


class Finder:
    """The first half of everything mode, on the engine's device: from embeddings to masks.

    Args:
        engine: Any.
        generator: Thresholds and grids.
    """

    def __init__(self, engine: Engine, generator: GeneratorConfig) -> None:
        self._engine, self._generator = engine, generator
        self._size = BatchSize("prompts decoded at once", generator.points_per_batch, engine.spec)

    @torch.inference_mode()
    def find(self, views: Sequence[View], embeddings: Iterable[Embeddings], image_hw: Size) -> list[Candidate]:
        """Find an image's masks that pass the thresholds and are no duplicates within their view, view by view.

        Args:
            views: As for `segment`.
            embeddings: Theirs.
            image_hw: Height and width of the image.

        Raises:
            EngineError: The engine is broken, or its device has too little memory.
        """
        found: list[Candidate] = []
        for (view, points_P2), embedding in zip(
            _with_points(views, image_hw, self._generator), embeddings, strict=True
        ):
            # 3. Drop what its crop cut off.
            in_view = drop_cut_off(self._in_view(view, points_P2, embedding), image_hw)

            # 4. Drop duplicates among the masks of the view.
            found += suppress_within_crop(in_view, self._generator.box_nms_thresh)
        return found

    def _in_view(self, view: View, points_P2: FloatArray, embedding: Embeddings) -> Iterator[Candidate]:
        def work(some: slice) -> list[Candidate]:
            # 1. Score three masks a point, and choose by predicted IoU.
            scored = self._engine.score(embedding, _prompts(points_P2[some], view))
            chosen = _choose(scored, self._generator.pred_iou_thresh)

            # 2. Finish the chosen ones: logits, stability, threshold, box.
            return list(_finish(self._engine, scored, chosen, view, points_P2[some], self._generator))

        return chain.from_iterable(self._size.over(len(points_P2), work))


def conclude(found: Sequence[Candidate], image_hw: Size, generator: GeneratorConfig) -> list[Annotation]:
    """The second half of everything mode, on the CPU: from masks to what is left of them as annotations.

    Args:
        found: From `Finder.find`.
        image_hw: Height and width of the image.
        generator: As for `Finder`.
    """
    # 5. Drop duplicates among the views.
    if generator.crop_n_layers > 0:
        found = suppress_between_crops(found, generator.crop_nms_thresh)

    # 6. Fill small holes and drop small islands.
    if generator.min_mask_region_area > 0:
        iou_thresh = max(generator.box_nms_thresh, generator.crop_nms_thresh)
        found = clean_regions(found, image_hw, generator.min_mask_region_area, iou_thresh)

    # 7. Encode what is left, and thin it out if that was asked for.
    return thin(annotate(found, image_hw), image_hw, generator)


def _with_points(
    views: Sequence[View], image_hw: Size, generator: GeneratorConfig
) -> Iterator[tuple[View, FloatArray]]:
    """Each view with the (P, 2) points of its layer, in pixels of its crop."""
    grids = _grids(generator)
    for view, (box, layer) in zip(views, view_boxes(image_hw, generator), strict=True):
        if view.box != box:
            raise ValueError(f"the view {view.box} should be {box}: it was cut for another image or generator")
        yield view, grids[layer] * _crop_hw(view)[::-1]


def _grids(generator: GeneratorConfig) -> list[FloatArray]:
    """Points of the unit square, one array a layer."""
    if generator.points_per_side is None:
        return [np.array(grid, dtype=np.float64) for grid in generator.point_grids or ()]
    factor = generator.crop_n_points_downscale_factor
    return layer_point_grids(generator.points_per_side, generator.crop_n_layers, factor)


def _prompts(points_P2: FloatArray, view: View) -> Prompts:
    """One foreground point a prompt."""
    in_view_P2 = points_to_view(points_P2, _crop_hw(view), _view_hw(view))
    return Prompts(
        points=torch.from_numpy(in_view_P2)[:, None],  # float64, which SAM rounds after its own shift and scaling
        labels=torch.ones((len(points_P2), 1), dtype=torch.int32),
    )


def _choose(scored: ScoredPrompts, threshold: float) -> _Chosen:
    """The masks above the threshold, prompt by prompt; all of them where it is 0.

    Chosen on the CPU, which must know them: it waits for the GPU once, not for every question about them.
    """
    iou_PM = scored.iou.cpu()
    passed_PM = iou_PM > threshold if threshold > 0 else torch.ones_like(iou_PM, dtype=torch.bool)
    return _Chosen(passed_PM.nonzero(), iou_PM[passed_PM])


def _finish(
    engine: Engine,
    scored: ScoredPrompts,
    chosen: _Chosen,
    view: View,
    points_P2: FloatArray,
    generator: GeneratorConfig,
) -> Iterator[Candidate]:
    """The chosen masks that are stable, in the image's frame."""
    masks = stable_masks(
        engine.finish(scored, chosen.index_K2),
        Scale(engine.spec.image_side, _view_hw(view), _crop_hw(view)),
        threshold=engine.spec.mask_threshold,
        offset=generator.stability_score_offset,
        min_stability=generator.stability_score_thresh,
    )
    prompts_K, predicted_iou_K = chosen.index_K2[:, 0].tolist(), chosen.iou_K.tolist()
    x0, y0, _, _ = view.box
    for one in masks:
        x, y = points_P2[prompts_K[one.index]].tolist()
        mask = one.patch.shift(x0, y0)
        yield Candidate(mask, predicted_iou_K[one.index], one.stability, (x + x0, y + y0), view.box)


def _crop_hw(view: View) -> Size:
    x0, y0, x1, y1 = view.box
    return y1 - y0, x1 - x0


def _view_hw(view: View) -> Size:
    return view.pixels.shape[0], view.pixels.shape[1]

"""Everything mode: all masks of one image, from a grid of points.

In float32 on the CPU the records are those of segment-anything's `SamAutomaticMaskGenerator`, in its order. What is
computed for a mask, and when, differs: what the predicted IoU drops is never up-scaled, and only what survives every
suppression is encoded. It knows no files, no model and no clock.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, chain, groupby
from typing import Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sam_batch.config import Config, GeneratorConfig
from sam_batch.engine.protocol import Embeddings, Engine, Prompts
from sam_batch.masks.geometry import points_to_view
from sam_batch.masks.grids import layer_point_grids
from sam_batch.records import Annotation, ImageRef, ImageResult, LoadedImage, Prompt, View
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
from sam_batch.segment.filters import apply_filters, passes_scores
from sam_batch.segment.finish import choose_above, to_candidates
from sam_batch.segment.memory import BatchSize
from sam_batch.segment.stored import to_stored

_log = logging.getLogger(__name__)

FloatArray: TypeAlias = NDArray[np.float64]
Progress: TypeAlias = Callable[[float], None]
"""Is told which share of an image's points has been asked, 0 to 1; what it raises ends the search."""


def segment(
    engine: Engine, views: Sequence[View], height: int, width: int, generator: GeneratorConfig
) -> list[Annotation]:
    """Find all masks of one image.

    Args:
        engine: Any.
        views: Of the image, as `views.crop_views` and `views.cut_views` made them with the same generator.
        height: Of the image in pixels.
        width: Likewise.
        generator: Thresholds and grids.

    Returns:
        In the reference's order: by predicted IoU; with crops, masks of small crops first; with region clean-up,
        untouched masks first. Empty if nothing was found.

    Raises:
        EngineError: The engine is broken, or its device has too little memory.
    """
    algorithm = Everything(engine, generator)
    image = LoadedImage(ImageRef(0, "", ""), height, width, sha256="", data=b"", views=tuple(views))
    (embeddings,) = Embedder(engine).embed([image.views])
    return list(algorithm.conclude(image, algorithm.find(image, embeddings)).annotations)


class Everything:
    """Everything mode, as `segment.algorithm.Algorithm` describes it.

    Args:
        engine: Any.
        generator: Thresholds and grids.
        keep_candidates: Keep beside the annotations what they were chosen from.
    """

    def __init__(self, engine: Engine, generator: GeneratorConfig, *, keep_candidates: bool = False) -> None:
        self._engine, self._generator, self._keep_candidates = engine, generator, keep_candidates
        self._grids = _grids(generator)
        self._size = BatchSize("prompts decoded at once", generator.points_per_batch, engine.spec)

    @classmethod
    def from_config(cls, engine: Engine, config: Config) -> Self:
        """As the job makes it."""
        return cls(engine, config.generator, keep_candidates=config.output.candidates)

    @torch.inference_mode()
    def find(
        self, image: LoadedImage, embeddings: Iterable[Embeddings], progress: Progress = lambda share: None
    ) -> list[Candidate]:
        """Find the masks that pass the thresholds and are no duplicates within their view, view by view.

        Where candidates are kept, duplicates are still among them.
        """
        image_hw = (image.height, image.width)
        below: list[float] = []
        found: list[Candidate] = []
        points = [len(self._grids[view.layer]) for view in image.views]
        before = list(accumulate(points, initial=0))
        for view, embedding, asked in zip(image.views, embeddings, before[:-1], strict=True):
            tell = partial(_tell, progress, asked, before[-1])
            found += self._in_view(view, embedding, image_hw, below, tell)
        if not found and below:
            self._warn_of_threshold(max(below))
        return found

    def _in_view(
        self, view: View, embedding: Embeddings, image_hw: Size, below: list[float], tell: Callable[[int], None]
    ) -> list[Candidate]:
        """The masks of a view.

        `below` is given the best predicted IoU of each batch of which none passed, `tell` how many points were asked.
        """
        generator = self._generator
        points_P2 = self._grids[view.layer] * view.crop_hw[::-1]

        def decode(batch: slice) -> list[Candidate]:
            tell(batch.start)

            # 1. Score three masks a point, and choose by predicted IoU.
            scored = self._engine.score(embedding, _in_frame(points_P2[batch], view))
            chosen = choose_above(scored, generator.pred_iou_thresh)
            if not len(chosen.index_K2):
                below.append(chosen.best)
                return []

            # 2. Finish the chosen ones: logits, stability, threshold, box.
            masks = to_candidates(
                self._engine.finish(scored, chosen.index_K2),
                chosen,
                _as_prompts(points_P2[batch], view),
                view,
                self._engine.spec,
                stability_offset=generator.stability_score_offset,
                min_stability=generator.stability_score_thresh,
            )
            return list(masks)

        candidates = chain.from_iterable(self._size.over(len(points_P2), decode))

        # 3. Drop what its crop cut off.
        whole = drop_cut_off(candidates, image_hw)

        # 4. Drop duplicates among the masks of the view.
        return whole if self._keep_candidates else suppress_within_crop(whole, generator.box_nms_thresh)

    def _warn_of_threshold(self, best: float) -> None:
        """In steps of a tenth, so that a million images without a mask make ten warnings at most."""
        _log.warning(
            "images without a mask: no predicted IoU reached generator.pred_iou_thresh = %g; the best were about %.1f",
            self._generator.pred_iou_thresh,
            best,
        )

    def conclude(self, image: LoadedImage, found: Sequence[Candidate]) -> ImageResult:
        """Make annotations of what is left when all views are known."""
        image_hw = (image.height, image.width)
        if not self._keep_candidates:
            return ImageResult.segmented(image, to_annotations(found, image_hw, self._generator))
        annotations = to_annotations(find_again(found, self._generator), image_hw, self._generator)
        return ImageResult.segmented(image, annotations, candidates=to_stored(found, image_hw))


def _tell(progress: Progress, before: int, total: int, here: int) -> None:
    progress((before + here) / total)


def to_annotations(found: Sequence[Candidate], image_hw: Size, generator: GeneratorConfig) -> list[Annotation]:
    """What is left of an image's candidates when all its views are known, as annotations."""
    # 5. Drop duplicates among the views.
    if generator.crop_n_layers > 0:
        found = suppress_between_crops(found, generator.crop_nms_thresh)

    # 6. Fill small holes and drop small islands.
    if generator.min_mask_region_area > 0:
        iou_thresh = max(generator.box_nms_thresh, generator.crop_nms_thresh)
        found = clean_regions(found, image_hw, generator.min_mask_region_area, iou_thresh)

    # 7. Encode the rest, and drop what the filters drop.
    return apply_filters(annotate(found, image_hw), image_hw, generator)


def find_again(found: Sequence[Candidate], generator: GeneratorConfig) -> list[Candidate]:
    """What `Everything.find` returns with other thresholds, without the engine.

    Args:
        found: What it returned with lower thresholds, and with a `box_nms_thresh` of 1 or as candidates that are kept,
            so that nothing was suppressed.
        generator: The other thresholds.
    """
    thresholds = generator.pred_iou_thresh, generator.stability_score_thresh
    passed = [one for one in found if passes_scores(one.predicted_iou, one.stability, *thresholds)]
    views = [list(of_view) for _, of_view in groupby(passed, key=lambda candidate: (candidate.layer, candidate.crop))]
    return [kept for of_view in views for kept in suppress_within_crop(of_view, generator.box_nms_thresh)]


def _grids(generator: GeneratorConfig) -> list[FloatArray]:
    """Points of the unit square, one array a layer."""
    if generator.points_per_side is None:
        return [np.array(grid, dtype=np.float64) for grid in generator.point_grids or ()]
    factor = generator.crop_n_points_downscale_factor
    return layer_point_grids(generator.points_per_side, generator.crop_n_layers, factor)


def _in_frame(points_P2: FloatArray, view: View) -> Prompts:
    """One foreground point a prompt, for the engine; the points are in pixels of the view's crop."""
    in_view_P2 = points_to_view(points_P2, view.crop_hw, view.view_hw)
    return Prompts(
        points=torch.from_numpy(in_view_P2)[:, None],  # float64, which SAM rounds after its own shift and scaling
        labels=torch.ones((len(points_P2), 1), dtype=torch.int32),
    )


def _as_prompts(points_P2: FloatArray, view: View) -> list[Prompt]:
    """The same in pixels of the image, as annotations keep them."""
    x0, y0, _, _ = view.box
    return [Prompt(points=((x + x0, y + y0),), labels=(1,)) for x, y in points_P2.tolist()]

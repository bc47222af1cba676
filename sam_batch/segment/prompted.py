"""Prompted mode: the masks of an image's own points, boxes and masks, one object a prompt.

In float32 on the CPU the masks are those of segment-anything's `SamPredictor`, prompt by prompt. Prompts may have any
parts, and each another number of points. Nothing is suppressed: a prompt ends with its masks, empty, or failed with its
reason, whatever becomes of the others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor

from sam_batch.config import Config
from sam_batch.engine.protocol import Embeddings, Engine, Prompts
from sam_batch.errors import NonFiniteError
from sam_batch.records import (
    ImageResult,
    LoadedImage,
    Prompt,
    PromptFailure,
    PromptFailureKind,
    PromptResult,
    Status,
    View,
)
from sam_batch.segment.candidates import Candidate, annotate
from sam_batch.segment.finish import choose_above, choose_best, to_candidates
from sam_batch.segment.memory import BatchSize
from sam_batch.segment.prompt_faults import find_fault
from sam_batch.segment.prompt_groups import by_shape, to_engine

Choice: TypeAlias = Literal["single", "best", "auto", "all"]

STABILITY_OFFSET = 1.0  # segment-anything's; stability is measured here and drops nothing
AMBIGUOUS_TOKENS = 2  # those of one point or one box: up to here `auto` takes the best of three


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one prompt.

    Attributes:
        prompt: The prompt.
        candidates: Its masks in SAM's order, also those without a pixel; there are none if it failed.
        logits_Mhw: Low-resolution float32 logits of the masks, on the engine's device; None unless they are kept.
        failure: Why it failed, if it did.
    """

    prompt: Prompt
    candidates: tuple[Candidate, ...] = ()
    logits_Mhw: Tensor | None = None
    failure: PromptFailure | None = None

    @property
    def status(self) -> Status:
        """How the prompt ended."""
        if self.failure is not None:
            return Status.FAILED
        return Status.OK if any(not candidate.mask.is_empty for candidate in self.candidates) else Status.EMPTY


class Prompted:
    """Prompted mode, as `segment.algorithm.Algorithm` describes it.

    Args:
        engine: Any.
        choose: Which of SAM's four masks a prompt gets. single: the first, which SAM learned for prompts that leave no
            doubt. best: of the other three the one with the highest predicted IoU. all: these three. auto: best for at
            most one point or one box, single for more, as SAM's ONNX model decides.
        refine: How many times the best mask is given back, as a prompt beside the others.
        batch: Prompts decoded at once; changes memory and speed, not masks but for rounding.
        keep_logits: Keep the low-resolution logits of all masks, 256 KiB a mask of SAM.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        choose: Choice = "auto",
        refine: int = 0,
        batch: int = 64,
        keep_logits: bool = False,
    ) -> None:
        self._engine, self._choose, self._refine, self._keep_logits = engine, choose, refine, keep_logits
        self._size = BatchSize("prompts decoded at once", batch, engine.spec)

    @classmethod
    def from_config(cls, engine: Engine, config: Config) -> Self:
        """As the job makes it."""
        prompts = config.prompts
        return cls(engine, choose=prompts.choose, refine=prompts.refine, batch=config.generator.points_per_batch)

    @torch.inference_mode()
    def find(self, image: LoadedImage, embeddings: Iterable[Embeddings]) -> list[Answer]:
        """Answer the image's prompts, in their order; no embedding is asked for where none can be answered."""
        prompts, image_hw, mask_side = image.prompts or (), (image.height, image.width), self._engine.spec.mask_side

        # 1. Put aside what would make a wrong mask, or take its neighbours with it.
        answers = [Answer(prompt, failure=find_fault(prompt, image_hw, mask_side)) for prompt in prompts]

        # 2. Group the others by shape.
        groups = by_shape((place for place, answer in enumerate(answers) if answer.failure is None), prompts)
        if not groups:
            return answers

        # 3. Answer each group, batch by batch, over the whole image: crops are for grids.
        view, embedding = image.views[0], next(iter(embeddings))
        for places in groups:
            group = self._answer_group([prompts[place] for place in places], view, embedding)
            for place, answer in zip(places, group, strict=True):
                answers[place] = answer
        return answers

    def _answer_group(self, prompts: Sequence[Prompt], view: View, embedding: Embeddings) -> Iterator[Answer]:
        def answer(batch: slice) -> list[Answer]:
            return self._answer(prompts[batch], view, embedding)

        return chain.from_iterable(self._size.over(len(prompts), answer))

    def _answer(self, prompts: Sequence[Prompt], view: View, embedding: Embeddings) -> list[Answer]:
        given = to_engine(prompts, view, self._engine.spec)
        asked = replace(given, masks=torch.empty(len(prompts), 1, 0, 0)) if self._refine else given
        if not self._engine.spec.takes(asked):
            reason = f"{self._engine.spec.refusal(asked)}; set engine.kind=torch"
            failure = PromptFailure(PromptFailureKind.NOT_SUPPORTED, reason)
            return [Answer(prompt, failure=failure) for prompt in prompts]
        try:
            return self._decode(prompts, given, view, embedding)
        except NonFiniteError as error:
            if len(prompts) == 1:
                failure = PromptFailure(PromptFailureKind.NON_FINITE_OUTPUT, str(error))
                return [Answer(prompts[0], failure=failure)]
        # One of them overflowed, as happens in half precision: each is asked by itself.
        return [self._answer([prompt], view, embedding)[0] for prompt in prompts]

    def _decode(self, prompts: Sequence[Prompt], given: Prompts, view: View, embedding: Embeddings) -> list[Answer]:
        # 4. Ask for three masks where the prompts leave room for doubt, else for one.
        three = {"single": False, "best": True, "all": True, "auto": given.tokens <= AMBIGUOUS_TOKENS}
        given = replace(given, multimask=three[self._choose])

        # 5. Score them, and give the best mask back as often as was asked for.
        scored = self._engine.score(embedding, given)
        for _ in range(self._refine):
            logits_Phw = self._engine.finish(scored, choose_best(scored).index_K2)
            scored = self._engine.score(embedding, replace(given, masks=logits_Phw[:, None]))

        # 6. Finish what is chosen: logits, threshold, box.
        chosen = choose_above(scored, 0.0) if self._choose == "all" else choose_best(scored)
        logits_Khw = self._engine.finish(scored, chosen.index_K2)
        spec, offset = self._engine.spec, STABILITY_OFFSET
        candidates = list(
            to_candidates(logits_Khw, chosen, prompts, view, spec, stability_offset=offset, min_stability=0.0)
        )
        each = len(candidates) // len(prompts)
        parts = [slice(start, start + each) for start in range(0, len(candidates), each)]
        return [
            Answer(prompt, tuple(candidates[part]), logits_Khw[part] if self._keep_logits else None)
            for prompt, part in zip(prompts, parts, strict=True)
        ]

    def conclude(self, image: LoadedImage, found: Sequence[Answer]) -> ImageResult:
        """Encode the masks; each prompt leaves a trace, also one whose masks have no pixel."""
        # 7. Number what has pixels, and say how each prompt ended.
        candidates = [candidate for answer in found for candidate in answer.candidates]
        annotations = annotate(candidates, (image.height, image.width))
        results = [PromptResult(answer.prompt, answer.status, answer.failure) for answer in found]
        return ImageResult.segmented(image, annotations, results)

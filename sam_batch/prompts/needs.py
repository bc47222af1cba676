"""What an engine must be able to do for the prompts of a job, known before any worker starts."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config_prompts import PromptsConfig
from sam_batch.engine.choice import EngineChoice

NO_POINT = -1  # the label of a point that counts for nothing


class Needs(NamedTuple):
    """What prompts ask of an engine.

    Attributes:
        fewest: Tokens of a prompt, as `engine.protocol.Prompts.tokens` counts them.
        most: Likewise.
        masks: Prompts have masks, or masks are given back as prompts.
    """

    fewest: int
    most: int
    masks: bool

    @classmethod
    def of(cls, given: pa.Array, config: PromptsConfig) -> "Needs | None":
        """The needs of prompts, `arrow.GIVEN`; None where there are none that can be asked."""
        objects = pc.list_flatten(pc.struct_field(given, "objects"))
        objects = objects.filter(pc.is_null(pc.struct_field(objects, "fault")))
        if not len(objects):
            return None
        labels = pc.struct_field(objects, "labels")
        owners = np.asarray(pc.list_parent_indices(labels))
        counts = np.asarray(pc.not_equal(pc.list_flatten(labels), NO_POINT))
        points = np.bincount(owners[counts], minlength=len(objects))
        boxed = np.asarray(pc.is_valid(pc.struct_field(objects, "box")))
        tokens = points + np.where(boxed, 2, points > 0)
        masked = [pc.any(pc.is_valid(pc.struct_field(objects, part))).as_py() for part in ("mask", "logits")]
        return cls(int(tokens.min()), int(tokens.max()), any(masked) or config.refine > 0)

    def unmet(self, choice: EngineChoice) -> str:
        """What engines cannot do of that, with the key to change; empty if they can do all."""
        if self.masks and not choice.takes_masks:
            return (
                f"{choice.kind} engines take no masks as prompts; set prompts.refine=0 and prompts.use=[box,points], "
                "or engine.kind=torch"
            )
        fewest, most = choice.token_range or (self.fewest, self.most)
        if fewest <= self.fewest and self.most <= most:
            return ""
        return (
            f"{choice.kind} engines take prompts of {_range(fewest, most)} tokens, these have "
            f"{_range(self.fewest, self.most)}: a point is one, a "
            "box is two, points without a box are one more; raise engine.tensorrt.max_tokens and build them anew, or "
            "set prompts.use=[box] or engine.kind=torch"
        )


def _range(fewest: int, most: int) -> str:
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"

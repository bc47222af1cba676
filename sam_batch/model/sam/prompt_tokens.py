"""Points and boxes to the tokens of SAM's mask decoder: the numbers of segment-anything's `PromptEncoder`.

That one chooses points by their labels with boolean indices, for whose count the CPU waits on a GPU, label by label;
here nothing waits. Masks of an earlier round are not its business.

Subscripts: P prompts, n points a prompt, T tokens a prompt, C channels.
"""

import torch
from segment_anything.modeling.prompt_encoder import PromptEncoder
from torch import Tensor
from torch.nn.functional import pad

from sam_batch.model.family import PromptParts

PADDING, BACKGROUND, FOREGROUND = -1, 0, 1


def prompt_tokens(encoder: PromptEncoder, prompts: PromptParts) -> Tensor:
    """Make tokens of points and boxes, which may be on the CPU, on the encoder's device and in its precision.

    Args:
        encoder: Of a SAM, in float32.
        prompts: P of them.

    Returns:
        (P, T, C): the points, with a padding point where there is no box, then two corners of the box; (P, 0, C)
        where there are neither.

    Raises:
        ValueError: There are points without labels.
    """
    points_Pn2, labels_Pn, boxes_P4 = prompts.points, prompts.labels, prompts.boxes
    if (points_Pn2 is None) != (labels_Pn is None):
        raise ValueError("points and labels come together")
    device = encoder.not_a_point_embed.weight.device
    hurried = device.type != "cpu"  # towards the CPU a copy must be waited for
    tokens = [encoder.not_a_point_embed.weight.new_empty((len(prompts), 0, encoder.embed_dim))]
    if points_Pn2 is not None and labels_Pn is not None:
        points, labels = (given.to(device, non_blocking=hurried) for given in (points_Pn2, labels_Pn))
        tokens.append(_point_tokens(encoder, points, labels, padding=int(boxes_P4 is None)))
    if boxes_P4 is not None:
        tokens.append(_box_tokens(encoder, boxes_P4.to(device, non_blocking=hurried)))
    return torch.cat(tokens, dim=1)


def _point_tokens(encoder: PromptEncoder, points_Pn2: Tensor, labels_Pn: Tensor, padding: int) -> Tensor:
    middles_Pn2 = pad(points_Pn2 + 0.5, (0, 0, 0, padding))
    label_Pn1 = pad(labels_Pn, (0, padding), value=PADDING)[..., None]
    tokens = encoder.pe_layer.forward_with_coords(middles_Pn2, encoder.input_image_size)
    for label in (BACKGROUND, FOREGROUND):
        tokens = torch.where(label_Pn1 == label, tokens + encoder.point_embeddings[label].weight, tokens)
    return torch.where(label_Pn1 == PADDING, encoder.not_a_point_embed.weight, tokens)


def _box_tokens(encoder: PromptEncoder, boxes_P4: Tensor) -> Tensor:
    corners_P22 = boxes_P4.reshape(-1, 2, 2) + 0.5
    tokens: Tensor = encoder.pe_layer.forward_with_coords(corners_P22, encoder.input_image_size)
    return tokens + torch.cat([one.weight for one in encoder.point_embeddings[2:]])

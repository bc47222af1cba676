"""Prompts in Arrow: as the plan keeps them, as they travel with an image, and how each of them ended.

Nothing here is NaN, so that two columns can be compared: a prompt that is not finite is kept as its fault.
"""

from typing import Any, TypeAlias

import pyarrow as pa

from sam_batch.records import Prompt, PromptFailure, PromptFailureKind, PromptResult, Status

Row: TypeAlias = dict[str, Any]

_FAULT = pa.struct([("kind", pa.string()), ("message", pa.string())])
_ASKED = [
    ("prompt_id", pa.string()),
    ("category_id", pa.int64()),
    ("category", pa.string()),
    ("box", pa.list_(pa.float64())),
    ("points", pa.list_(pa.list_(pa.float64()))),
    ("labels", pa.list_(pa.int32())),
    ("attributes", pa.string()),
]

PROMPT = pa.struct([*_ASKED, ("mask", pa.string()), ("logits", pa.binary()), ("fault", _FAULT)])
"""One prompt; `box` is xyxy, `attributes` a JSON object, `mask` compressed run lengths."""

GIVEN = pa.struct(
    [
        ("source_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("normalised", pa.bool_()),
        ("objects", pa.list_(PROMPT)),
    ]
)
"""The prompts of an image as their source gives them: `source_id` is its number there, `width` and `height` its size
as it was annotated, null where the source does not say; `normalised` coordinates are shares of these sides."""

RESULT = pa.struct([*_ASKED, ("status", pa.string()), ("failure", _FAULT)])
"""A prompt and how it ended. Its mask and logits stay in the plan."""


def prompt_to_row(prompt: Prompt) -> Row:
    """For a column of `PROMPT`."""
    return {
        **_asked_row(prompt),
        "mask": prompt.mask,
        "logits": prompt.logits,
        "fault": _fault_row(prompt.fault),
    }


def row_to_prompt(row: Row) -> Prompt:
    """Read back what `prompt_to_row` made."""
    return Prompt(
        points=tuple((x, y) for x, y in row["points"] or ()),
        labels=tuple(row["labels"] or ()),
        box=None if row["box"] is None else tuple(row["box"]),
        mask=row.get("mask"),
        logits=row.get("logits"),
        prompt_id=row["prompt_id"],
        category_id=row["category_id"],
        category=row["category"],
        attributes=row["attributes"] or "",
        fault=_fault(row.get("fault")),
    )


def result_to_row(result: PromptResult) -> Row:
    """For a column of `RESULT`."""
    return {**_asked_row(result.prompt), "status": result.status, "failure": _fault_row(result.failure)}


def row_to_result(row: Row) -> PromptResult:
    """Read back what `result_to_row` made; a prompt's mask, logits and fault are not kept there."""
    return PromptResult(row_to_prompt(row), Status(row["status"]), _fault(row["failure"]))


def _asked_row(prompt: Prompt) -> Row:
    return {
        "prompt_id": prompt.prompt_id,
        "category_id": prompt.category_id,
        "category": prompt.category,
        "box": prompt.box,
        "points": prompt.points or None,
        "labels": prompt.labels or None,
        "attributes": prompt.attributes or None,
    }


def _fault_row(fault: PromptFailure | None) -> Row | None:
    if fault is None:
        return None
    return {"kind": fault.kind, "message": fault.message.encode(errors="backslashreplace").decode()}


def _fault(row: Row | None) -> PromptFailure | None:
    return None if row is None else PromptFailure(PromptFailureKind(row["kind"]), row["message"])

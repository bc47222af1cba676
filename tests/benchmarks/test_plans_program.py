"""What the program measures, by the real library on a model that is done in a blink, and how it is shown."""

import json
from dataclasses import asdict, dataclass

from support.small_sam import small_sam
from support.tensorrt_library import needs_library

from benchmarks import plans
from sam_batch.config_engine import TensorRTConfig


@needs_library
def test_each_graph_says_what_became_of_it(monkeypatch, export_once):
    monkeypatch.setattr(plans, "build", lambda model: small_sam(lively=False))
    monkeypatch.setattr(plans, "export", export_once)
    settings = TensorRTConfig(positions="folded", max_prompts=4)  # as other tests export it
    rows, process = plans.measure("small", "fp32", ["8.9"], settings)
    attentions = {row["graph"]: (row["fused"], row["apart"]) for row in rows}
    assert attentions == {"encoder, folded": (0, 2), "score": (0, 7), "finish": (0, 0), "prompted": (0, 7)}
    assert min(row["bytes"] for row in rows) > 0 < min(row["scratch_bytes"] for row in rows)
    assert process["peak_bytes"] > 0
    json.dumps([rows, process])


@dataclass
class Plan:
    """A row of a plan."""

    capability: str
    fused: int
    cpu_seconds: float = 1.0
    model: str = "small"
    precision: str = "fp16"
    graph: str = "score"
    onnx_bytes: int = 1_000_000
    bytes: int = 2_000_000
    scratch_bytes: int = 3 << 20
    apart: int = 4


def test_capabilities_for_which_a_graph_came_out_alike_share_a_line():
    rows = [asdict(one) for one in (Plan("8.6", 2), Plan("8.9", 3, 1.0), Plan("12.0", 3, 2.0))]
    assert list(plans.show(rows)) == [
        "| small | fp16 | score | 1.0 | 8.6 | 1.0 | 2.0 | 3 | 2 / 4 |",
        "| small | fp16 | score | 1.0 | 8.9, 12.0 | 2.0 | 2.0 | 3 | 3 / 4 |",
    ]

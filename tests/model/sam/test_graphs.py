import pytest
import torch
from support.small_sam import small_sam

from sam_batch.model.sam.graphs import sam_graphs


def run(graph, sizes):
    """Its module's outputs, of zeros of the declared shapes and types, by name."""
    given = [
        torch.zeros([sizes.get(size, size) for size in shape], dtype=dtype) for shape, dtype in graph.inputs.values()
    ]
    made = graph.build()(*given)
    return dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True))


PLAIN = {"attention": False, "positions": "written"}


@pytest.mark.parametrize(("precision", "low"), [("fp32", torch.float32), ("fp16", torch.float16)])
@torch.no_grad()
def test_what_is_declared_fits_the_modules_and_one_graph_the_next(precision, low):
    graphs = sam_graphs(small_sam(), precision, **PLAIN, max_tokens=19)
    assert list(graphs) == ["encoder", "score", "finish", "prompted"]
    features = run(graphs["encoder"], {"images": 2})["embeddings"]
    assert (features.shape, features.dtype) == ((2, 32, 8, 8), low)
    for name in ("score", "prompted"):
        scored = run(graphs[name], {"prompts": 5})
        assert scored.pop("iou").shape == (5, 4)
        wanted = {given: ((5, *shape[1:]), dtype) for given, (shape, dtype) in graphs["finish"].inputs.items()}
        assert {given: (tensor.shape, tensor.dtype) for given, tensor in scored.items()} == wanted
    assert run(graphs["finish"], {"prompts": 5})["logits"].shape == (5, 4, 32, 32)


def test_the_graph_of_prompts_of_any_parts_is_made_only_where_it_is_wanted():
    assert list(sam_graphs(small_sam(), "fp32", **PLAIN, max_tokens=None)) == ["encoder", "score", "finish"]

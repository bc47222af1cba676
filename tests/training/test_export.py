import torch
from safetensors.torch import load_file

from sam_batch.model.sam.demo import build_demo
from training.export import export, sharpen
from training.model import decode, new_model, point_tokens
from training.train import CPU_STAGES, save, start


def test_an_export_has_the_tensors_of_the_demo_model(tmp_path):
    save(start(CPU_STAGES[1], "cpu"), tmp_path / "checkpoint.pt")
    digest = export(tmp_path / "checkpoint.pt", tmp_path / "demo.safetensors")
    state = load_file(tmp_path / "demo.safetensors")
    build_demo().load_state_dict(state)
    assert all(value.dtype == torch.float16 for value in state.values())
    assert len(digest) == 64


@torch.no_grad()
def test_sharpening_scales_the_logits_and_nothing_else():
    soft, sharp = new_model(64).eval(), new_model(64).eval()
    sharp.load_state_dict(sharpen(soft.state_dict(), 4.0))
    embedding, masks = torch.randn(1, 128, 4, 4), torch.randn(3, 1, 16, 16)
    tokens = point_tokens(soft, torch.rand(3, 1, 2) * 64, torch.ones(3, 1))
    for before, after in ((None, None), (masks, 4 * masks)):
        logits, iou = decode(soft, embedding, tokens, before)
        sharper, same = decode(sharp, embedding, tokens, after)
        torch.testing.assert_close(sharper, 4 * logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(same, iou)

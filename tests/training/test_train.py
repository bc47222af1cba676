from contextlib import nullcontext

import pytest
import torch

from training.sources import Fresh, Pool
from training.train import Stage, enter, load, rate_at, save, start, train, train_step

PAIRS = Stage("pairs", 0.5, 64, 80, 2, 0, 1e-3)
PROMPTS = Stage("prompts", 1.0, 64, 80, 2, 4, 1e-3)
LARGER = Stage("full", 1.0, 128, 128, 1, 2, 1e-3)


@pytest.fixture(autouse=True)
def no_emulated_bfloat16(monkeypatch):
    """Train in float32 where a processor would emulate bfloat16: a step takes seconds there."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        monkeypatch.setattr(torch, "autocast", lambda device, dtype: nullcontext())
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # what Muon asks for


class Same:
    """Gives the same scenes at every step."""

    next_seed = 0

    def __init__(self, side):
        self.scenes = Fresh(side, 0, "cpu").take(2, None)

    def take(self, count, generator):
        return tuple(part[:count] for part in self.scenes)


@pytest.mark.parametrize("stage", [PAIRS, PROMPTS])
def test_the_loss_falls_on_the_same_few_scenes(stage):
    run = start(stage, "cpu")
    source = Same(stage.scene_side)
    losses = torch.stack([train_step(run, source, 0.0)[0] for _ in range(24)])
    assert losses[-6:].mean() < losses[:6].mean()


def test_a_run_continues_exactly_where_it_was_saved(tmp_path):
    run = start(PROMPTS, "cpu")
    source = Fresh(80, 0, "cpu")
    train_step(run, source, 0.0)
    run.next_seed = source.next_seed
    save(run, tmp_path / "checkpoint.pt")
    again = load(tmp_path / "checkpoint.pt", (PAIRS, PROMPTS), "cpu")
    for _ in range(2):
        expected = train_step(run, source, 0.5)
    source = Fresh(80, again.next_seed, "cpu")
    for _ in range(2):
        found = train_step(again, source, 0.5)
    assert torch.equal(found, expected)
    assert all(torch.equal(again.average[name], value) for name, value in run.average.items())


def test_stages_follow_each_other_and_the_model_grows():
    run = start(PAIRS, "cpu")
    for stage in (PROMPTS, LARGER):
        enter(run, stage)
        assert torch.isfinite(train_step(run, Same(stage.scene_side), 0.5)).all()
    assert run.sam.image_encoder.img_size == 128
    assert run.step == 2
    assert run.stage_step == 1


def test_used_up_time_trains_no_more(tmp_path):
    run = train(0.0, tmp_path, "cpu", (PAIRS,))
    assert run.step == 0
    assert (tmp_path / "checkpoint.pt").exists()


def test_the_rate_warms_up_and_ends_near_zero():
    assert rate_at(0.0, PAIRS, 0) < 0.02 * PAIRS.rate
    assert rate_at(0.0, PAIRS, 100) == pytest.approx(PAIRS.rate)
    assert rate_at(1.0, PAIRS, 1000) == pytest.approx(0.01 * PAIRS.rate)


def test_the_pool_gives_scenes_of_its_seeds():
    pool = Pool(48, 5, size=4)
    try:
        images, _ = pool.take(3, torch.Generator().manual_seed(0))
        known, _ = Fresh(48, 5, "cpu").take(4, None)
        assert all(((known - image).abs().amax((1, 2, 3)) < 0.01).any() for image in images)
        assert pool.next_seed >= 9
    finally:
        pool.close()

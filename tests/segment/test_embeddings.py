import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.blobs import SIDE, BlobEngine
from support.pictures import picture
from support.small_sam import torch_engine

from sam_batch.engine.preprocess import Normaliser
from sam_batch.errors import EngineError, NonFiniteError
from sam_batch.records import View
from sam_batch.segment.embeddings import Embedder, views_at_once

ERRORS = (NonFiniteError, RuntimeError, ValueError)
VIEWS = [View((0, 0, SIDE, SIDE), picture(SIDE, SIDE, seed)) for seed in range(12)]
OWN = [BlobEngine().embed(Normaliser(BlobEngine.spec)([view]))[0] for view in VIEWS]


def same(one, other):
    return torch.equal(one.features[0], other.features[0])


class PickyEngine(BlobEngine):
    """Cannot embed some views, nor more than so many at once."""

    def __init__(self, bad=(), error=None, room=100):
        self.bad = [OWN[index] for index in bad]
        self.error, self.room, self.sizes = error, room, []

    def embed(self, images_N3SS):
        self.sizes.append(len(images_N3SS))
        if len(images_N3SS) > self.room:
            raise torch.OutOfMemoryError("no room")
        embeddings = super().embed(images_N3SS)
        if any(same(one, bad) for one in embeddings for bad in self.bad):
            raise self.error("this view")
        return embeddings


def images_of(counts):
    """VIEWS, dealt out."""
    left = iter(VIEWS)
    return [[next(left) for _ in range(count)] for count in counts]


def outcome(embeddings):
    try:
        return list(embeddings)
    except ERRORS:
        return "failed"


@given(
    counts=st.lists(st.integers(0, 4), max_size=3),
    bad=st.sets(st.integers(0, 11), max_size=3),
    error=st.sampled_from(ERRORS),
    at_once=st.integers(1, 5),
    room=st.integers(1, 5),
    threaded=st.booleans(),
)
def test_every_view_gets_its_embedding_and_a_bad_one_fails_its_image_alone(counts, bad, error, at_once, room, threaded):
    embedder = Embedder(PickyEngine(bad, error, room), at_once)
    with ThreadPoolExecutor(2) as pool:
        made = [outcome(one) for one in embedder.embed(images_of(counts), pool if threaded else None)]
    start = 0
    for count, embeddings in zip(counts, made, strict=True):
        mine = range(start, start + count)
        start += count
        if bad & set(mine):
            assert embeddings == "failed"
        else:
            assert all(same(one, OWN[index]) for one, index in zip(embeddings, mine, strict=True))


def test_views_of_several_images_are_embedded_together():
    engine = PickyEngine()
    for embeddings in Embedder(engine, 4).embed(images_of([1, 3, 2])):
        list(embeddings)
    assert engine.sizes == [4, 2]


def test_a_batch_changes_a_models_embeddings_by_no_more_than_rounding():
    engine = torch_engine()
    (alone,), (together,) = (Embedder(engine, size).embed([VIEWS[:4]]) for size in (1, 3))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.features, other.features, rtol=1e-4, atol=1e-5)


def test_nothing_is_embedded_before_it_is_asked_for_or_when_its_image_was_left():
    engine = PickyEngine()
    first, second, third = Embedder(engine, 2).embed(images_of([2, 4, 2]))
    assert engine.sizes == []
    next(first)
    next(second)
    next(third)
    assert engine.sizes == [2, 2, 2]


def test_the_next_batch_is_prepared_while_the_present_one_is_embedded(monkeypatch):
    prepared = [threading.Event(), threading.Event()]

    class WaitingEngine(BlobEngine):
        def embed(self, images_N3SS):
            assert prepared[1].wait(60)
            return super().embed(images_N3SS)

    class TellingNormaliser(Normaliser):
        def __call__(self, views):
            images_N3SS = super().__call__(views)
            prepared[0 if views[0] is VIEWS[0] else 1].set()
            return images_N3SS

    monkeypatch.setattr("sam_batch.segment.embeddings.Normaliser", TellingNormaliser)
    with ThreadPoolExecutor(1) as pool:
        (embeddings,) = Embedder(WaitingEngine(), 1).embed([VIEWS[:2]], pool)
        assert same(next(embeddings), OWN[0])


def test_a_broken_engine_raises_from_a_batch_too():
    (embeddings,) = Embedder(PickyEngine([1], EngineError), 2).embed([VIEWS[:2]])
    with pytest.raises(EngineError, match="this view"):
        next(embeddings)


def test_a_device_that_fails_while_views_are_prepared_is_an_engine_error(monkeypatch):
    failed = Mock(side_effect=RuntimeError("CUDA error: an illegal memory access was encountered"))
    monkeypatch.setattr("sam_batch.segment.embeddings.Normaliser", lambda spec: failed)
    monkeypatch.setattr(torch.cuda, "synchronize", failed)
    engine = PickyEngine()
    engine.spec = replace(engine.spec, device="cuda:0")
    (embeddings,) = Embedder(engine, 2).embed([VIEWS[:2]])
    with pytest.raises(EngineError, match="cuda:0 failed"):
        next(embeddings)


def test_memory_for_not_even_one_view_is_an_engine_error():
    (embeddings,) = Embedder(PickyEngine(room=0), 2).embed([VIEWS[:2]])
    with pytest.raises(EngineError, match="too little memory for one of the views"):
        next(embeddings)


@pytest.mark.parametrize(("free", "views"), [(139, 8), (23, 5), (9, 2), (1, 1)])
def test_a_gpu_embeds_as_many_views_at_once_as_its_memory_allows(monkeypatch, free, views):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free << 30, 140 << 30))
    assert views_at_once(replace(BlobEngine.spec, device="cuda:0")) == views


def test_a_cpu_embeds_one_view_at_a_time():
    assert views_at_once(BlobEngine.spec) == 1

import torch

from training.scenes import BACKGROUNDS, BEHIND, LAYERS, SLOTS, describe, draw, levels

SEEDS = torch.tensor([3, 11, 40])


def test_a_scene_is_its_seed():
    first, second = (draw(describe(SEEDS), 64) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_other_seeds_give_other_scenes():
    image, _ = draw(describe(SEEDS), 64)
    assert not torch.equal(image[0], image[1])


def test_a_batch_draws_what_each_seed_draws_alone():
    images, tops = draw(describe(SEEDS), 96)
    for i, seed in enumerate(SEEDS):
        image, top = draw(describe(seed[None]), 96)
        assert torch.equal(tops[i], top[0])
        torch.testing.assert_close(images[i], image[0], rtol=0, atol=1e-5)


def test_every_pixel_has_one_layer_and_a_colour():
    images, tops = draw(describe(SEEDS), 64)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert tops.max() < LAYERS


def test_levels_are_nested():
    part, body, whole = levels()
    for layer in range(LAYERS):
        same_part, same_body, same_whole = (ids == ids[layer] for ids in (part, body, whole))
        assert not (same_part & ~same_body).any()
        assert not (same_body & ~same_whole).any()


def test_marks_belong_to_the_body_and_limbs_to_the_object_only():
    _, body, whole = levels()
    limb, trunk, mark = BACKGROUNDS, BACKGROUNDS + BEHIND, BACKGROUNDS + SLOTS - 1
    assert body[mark] == body[trunk] != body[limb]
    assert whole[limb] == whole[trunk] == whole[mark] != whole[BACKGROUNDS - 1]


def test_marks_show_only_on_their_own_body():
    """Without their body, marks leave no pixel."""
    scene = describe(SEEDS)
    bodies = torch.arange(BACKGROUNDS + BEHIND, LAYERS, SLOTS)
    scene["present"][:, bodies] = 0
    _, tops = draw(scene, 64)
    slot = (tops.int() - BACKGROUNDS) % SLOTS
    assert not ((tops >= BACKGROUNDS) & (slot > BEHIND)).any()

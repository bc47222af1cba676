import torch

from training.losses import SPARE_WEIGHT, mask_costs, matched, pair_loss, pairwise_iou, prompt_loss


def squares():
    """Two targets, and outputs that answer them perfectly, in the other order."""
    targets = torch.zeros(1, 2, 8, 8)
    targets[0, 0, :4], targets[0, 1, :, :4] = 1, 1
    return targets.flip(1) * 40 - 20, targets


def test_perfect_masks_cost_nothing():
    logits, targets = squares()
    costs = mask_costs(logits, targets)[0]
    assert costs[0, 1] < 1e-3
    assert costs[1, 0] < 1e-3
    assert costs[0, 0] > 0.3


def test_costs_are_the_losses_computed_one_by_one():
    logits, targets = torch.randn(3, 4, 8, 8), torch.rand(3, 2, 8, 8).round()
    cost = mask_costs(logits, targets)[1, 2, 1]
    x, g = logits[1, 2], targets[1, 1]
    p = x.sigmoid()
    right = torch.where(g > 0, p, 1 - p)
    focal = (torch.where(g > 0, 0.25, 0.75) * (1 - right) ** 2 * -right.log()).mean()
    dice = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
    torch.testing.assert_close(cost, 20 * focal + dice)


def test_iou_of_masks():
    logits, targets = squares()
    torch.testing.assert_close(pairwise_iou(logits, targets)[0], torch.tensor([[1 / 3, 1], [1, 1 / 3]]))


def test_each_answer_gets_an_output_of_its_own():
    costs = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [5.0, 5.0]]])
    both = matched(costs, torch.tensor([[True, True]]))
    one = matched(costs, torch.tensor([[True, False]]))
    spare = SPARE_WEIGHT * (0 + 1 + 5) / 3
    torch.testing.assert_close(both, torch.tensor([(0.5 + spare) / (1 + SPARE_WEIGHT)]))
    torch.testing.assert_close(one, torch.tensor([spare / (1 + SPARE_WEIGHT)]))


def test_true_iou_is_that_of_the_best_answer_and_of_the_single_one():
    logits, targets = squares()
    logits, targets = logits[:, [0, 0, 0, 1]], torch.cat((targets, targets[:, :1]), 1)
    valid, single = torch.tensor([[True, True, False]]), torch.tensor([0])
    _, best = prompt_loss(logits, torch.zeros(1, 4), targets, valid, single)
    torch.testing.assert_close(best, torch.tensor([[1 / 3, 1, 1, 1]]))


def test_features_that_tell_regions_apart_lose_little():
    ids = torch.tensor([[0, 0, 1, 1, 1, 2]])
    apart = torch.nn.functional.one_hot(ids, 4).float() * 5
    anchors = torch.arange(6)[None]
    one = torch.tensor(1.0)
    good, iou = pair_loss(apart, ids, anchors, one, one)
    bad, _ = pair_loss(torch.zeros(1, 6, 4), ids, anchors, one, one)
    assert iou == 1
    assert good < bad

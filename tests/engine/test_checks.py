import pytest
import torch

from sam_batch.engine.checks import require_finite, require_within
from sam_batch.errors import NonFiniteError


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_refused(value):
    require_finite(torch.tensor([1.0, -2.0]), "a score")
    require_finite(torch.empty(0), "a score")
    with pytest.raises(NonFiniteError, match="a score that is NaN or infinite"):
        require_finite(torch.tensor([1.0, value]), "a score")


@pytest.mark.parametrize("pair", [[5, 0], [-1, 0], [0, 3], [0, -1]])
def test_a_pair_that_was_not_scored_is_refused(pair):
    require_within(torch.tensor([[4, 2], [0, 0]]), (5, 3))
    require_within(torch.empty(0, 2), (5, 3))
    with pytest.raises(IndexError, match=r"outside of the \(5, 3\)"):
        require_within(torch.tensor([pair]), (5, 3))

import pytest
from pydantic import ValidationError

from sam_batch.config_run import RunConfig


def test_there_is_at_least_one_actor():
    with pytest.raises(ValidationError, match="should be at least 1, or auto"):
        RunConfig(actors=0)


@pytest.mark.parametrize("actors", ["auto", 1, 4])
def test_the_most_actors_are_no_fewer_than_the_least(actors):
    assert RunConfig(actors=actors, max_actors=4).actors == actors
    with pytest.raises(ValidationError, match="max_actors is 4, fewer than actors, 5"):
        RunConfig(actors=5, max_actors=4)

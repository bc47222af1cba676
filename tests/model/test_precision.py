from typing import get_args

from sam_batch.config import EngineConfig
from sam_batch.model.precision import DTYPES


def test_names_are_those_of_the_configuration():
    assert {"auto", *DTYPES} == set(get_args(EngineConfig.model_fields["precision"].annotation))

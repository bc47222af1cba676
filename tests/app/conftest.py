"""One model for all tests of the app, as all of its visitors share one."""

from pathlib import Path

import pytest
from support.jobs import job_config

from sam_batch.app.model import Model
from sam_batch.app.photograph import read_place
from sam_batch.cli.app import read_settings

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.jpg"


@pytest.fixture(scope="session")
def fake():
    """Quick, and knows no objects."""
    return Model(job_config("photos", "out"))


@pytest.fixture(scope="session")
def demo():
    """The model of the package, under the settings that visitors begin with."""
    return Model(read_settings(["engine.device=cpu", "engine.precision=fp32", "generator.points_per_side=8"]))


@pytest.fixture(scope="session")
def coffee(demo):
    return read_place(str(COFFEE), demo.config)

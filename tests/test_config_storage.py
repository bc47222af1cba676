import pytest

from sam_batch import configfile
from sam_batch.errors import ConfigError


def test_an_endpoint_with_a_password_is_refused_and_not_repeated():
    tree = {"input": {"uri": "photos"}, "output": {"uri": "out"}}
    with pytest.raises(ConfigError, match=r"^storage\.endpoint_url: has a password") as caught:
        configfile.check(tree | {"storage": {"endpoint_url": "http://me:hunter2@minio:9000"}})
    assert "hunter2" not in str(caught.value)

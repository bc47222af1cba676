import pytest
from pydantic import ValidationError

from sam_batch.config_prompts import PromptsConfig


def test_one_source_or_several_or_none_read_the_same():
    assert [PromptsConfig(uri=uri).uris for uri in (None, "a", ("a", "b"))] == [(), ("a",), ("a", "b")]


def test_settings_without_a_source_are_refused():
    with pytest.raises(ValidationError, match=r"choose, refine: there are no prompts; set prompts\.uri"):
        PromptsConfig(choose="best", refine=1)


def test_defaults_that_are_written_out_need_no_source():
    assert PromptsConfig(**PromptsConfig().model_dump()) == PromptsConfig()

import pyarrow as pa
import pytest
from support.prompts import settings

from sam_batch.config_engine import TensorRTConfig
from sam_batch.engine.choice import FakeChoice, TensorRTChoice, TorchChoice
from sam_batch.model.sam.graphs import TOKENS
from sam_batch.prompts.arrow import GIVEN, prompt_to_row
from sam_batch.prompts.needs import Needs
from sam_batch.records import Prompt, PromptFailure, PromptFailureKind

BOX = Prompt(box=(1.0, 2.0, 3.0, 4.0))
POINT = Prompt(points=((1.0, 2.0),), labels=(1,))
POINTS = Prompt(points=((1.0, 2.0),) * 3, labels=(1, 0, -1))


def needs_of(*prompts, **changes):
    rows = [None, {"objects": list(map(prompt_to_row, prompts))}]
    return Needs.of(pa.chunked_array([pa.array(rows, GIVEN)]), settings(**changes))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([BOX, POINT], (2, 2, False)),
        ([BOX, POINTS], (2, 3, False)),
        ([Prompt(mask="0"), POINT], (0, 2, True)),
        ([Prompt(points=((1.0, 2.0),) * 17, labels=(1,) * 17, box=BOX.box)], (19, 19, False)),
    ],
    ids=["box, point", "points", "mask", "key points"],
)
def test_tokens_are_counted_as_engines_count_them(prompts, expected):
    assert needs_of(*prompts) == expected


def test_masks_are_needed_to_refine():
    assert needs_of(BOX, refine=1).masks


def test_without_a_prompt_that_can_be_asked_nothing_is_needed():
    assert needs_of() is None
    assert needs_of(Prompt(fault=PromptFailure(PromptFailureKind.CROWD, ""))) is None


@pytest.mark.parametrize("choice", [TorchChoice("fp32", "cpu"), FakeChoice()])
def test_engines_that_take_any_prompt_have_nothing_unmet(choice):
    assert needs_of(BOX, POINTS, refine=2).unmet(choice) == ""


def test_tensorrt_takes_what_its_engines_are_built_for_and_says_which_key_to_change():
    simple = TensorRTChoice("fp16", TensorRTConfig())
    assert simple.token_range == (TOKENS, TOKENS)
    assert needs_of(BOX, POINT).unmet(simple) == ""
    assert "these have 2 to 3" in needs_of(BOX, POINTS).unmet(simple)
    assert "prompts.refine=0" in needs_of(BOX, refine=1).unmet(simple)
    any_parts = TensorRTChoice("fp16", TensorRTConfig(max_tokens=3), prompts=True)
    assert needs_of(BOX, POINTS, Prompt(mask="0"), refine=1).unmet(any_parts) == ""
    more = needs_of(Prompt(points=((1.0, 2.0),) * 3, labels=(1,) * 3)).unmet(any_parts)
    assert "0 to 3 tokens, these have 4" in more
    assert "raise engine.tensorrt.max_tokens" in more

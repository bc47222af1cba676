import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.results import prompt_results, prompts

from sam_batch.prompts import arrow


@given(st.lists(prompts, max_size=4))
def test_prompts_come_back_as_they_were(asked):
    column = pa.array(list(map(arrow.prompt_to_row, asked)), arrow.PROMPT)
    assert list(map(arrow.row_to_prompt, column.to_pylist())) == asked


@given(st.lists(prompt_results, max_size=4))
def test_how_prompts_ended_comes_back_as_it_was(ended):
    column = pa.array(list(map(arrow.result_to_row, ended)), arrow.RESULT)
    assert list(map(arrow.row_to_result, column.to_pylist())) == ended

import pyarrow as pa
import pytest

from sam_batch.errors import ConfigError
from sam_batch.prompts.arrow import PROMPT, prompt_to_row, row_to_prompt
from sam_batch.prompts.categories import Categories
from sam_batch.prompts.items import Category
from sam_batch.records import Prompt
from sam_batch.records import PromptFailureKind as Kind


def complete(categories, *prompts):
    column = pa.array(list(map(prompt_to_row, prompts)), PROMPT)
    completed = [row_to_prompt(row) for row in categories.complete(column).to_pylist()]
    return [(prompt.category_id, prompt.category, prompt.fault and prompt.fault.kind) for prompt in completed]


def test_numbers_get_names_and_names_get_numbers():
    categories = Categories()
    categories.add(Category(0, "cat"))
    categories.add(Category(7, "cup"))
    asked = [Prompt(category_id=7), Prompt(category="cat"), Prompt()]
    assert complete(categories, *asked) == [(7, "cup", None), (0, "cat", None), (None, None, None)]


@pytest.mark.parametrize("prompt", [Prompt(category_id=3), Prompt(category="dog")])
def test_what_is_not_in_the_list_of_the_source_is_that_prompts_fault(prompt):
    categories = Categories()
    categories.add(Category(7, "cup"))
    found = complete(categories, prompt, Prompt(category_id=7))
    assert [kind for _, _, kind in found] == [Kind.UNKNOWN_CATEGORY, None]


def test_without_a_list_the_objects_make_one_and_what_is_known_keeps_its_number():
    categories = Categories([Category(4, "cup")])
    found = complete(categories, Prompt(category="cat"), Prompt(category="cup"), Prompt(category="cat"))
    assert found == [(5, "cat", None), (4, "cup", None), (5, "cat", None)]
    assert list(categories) == [Category(4, "cup"), Category(5, "cat")]


def test_a_number_without_a_name_is_called_by_it():
    assert complete(Categories(), Prompt(category_id=3)) == [(3, "3", None)]


def test_one_number_for_two_names_is_refused():
    categories = Categories([Category(1, "cat")])
    with pytest.raises(ConfigError, match="category 1 is 'dog' here and 'cat' elsewhere"):
        categories.add(Category(1, "dog"))

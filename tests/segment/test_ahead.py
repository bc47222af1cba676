import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.segment.ahead import ahead, helpers


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as one:
        yield one


@given(items=st.lists(st.integers(), max_size=6), depth=st.integers(0, 3), threads=st.integers(0, 2))
def test_results_come_in_order_and_every_work_answers_for_itself(items, depth, threads):
    def outcome(result):
        try:
            return result()
        except ZeroDivisionError as error:
            return str(error)

    alone = [outcome(one) for one in ahead(lambda item: 60 // item, items, None)]
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            assert [outcome(one) for one in ahead(lambda item: 60 // item, items, pool, depth)] == alone
    assert [isinstance(one, str) for one in alone] == [item == 0 for item in items]


def test_an_item_is_drawn_while_the_work_of_the_one_before_goes_on(pool):
    drawn = threading.Event()

    def items():
        yield 1
        drawn.set()
        yield 2

    results = ahead(lambda item: drawn.wait(60) and item, items(), pool)
    assert [result() for result in results] == [1, 2]


def test_no_more_works_than_asked_for_are_started_early(pool):
    drawn = []
    results = ahead(str, (drawn.append(item) or item for item in range(9)), pool, depth=2)
    assert next(results)() == "0"
    assert drawn == [0, 1, 2]


def test_without_a_pool_work_is_done_when_it_is_asked_for():
    done = []
    first, second = ahead(done.append, [1, 2], None)
    assert done == []
    second()
    assert done == [2]
    first()


def test_threads_help_beside_a_gpu_alone():
    assert helpers(on_gpu=False) is None
    with helpers(on_gpu=True) as pool:
        assert pool.submit(str, 1).result() == "1"

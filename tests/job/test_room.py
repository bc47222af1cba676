"""What is decoded and drawn side by side fits into memory, and what is larger than that is done alone."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from filelock import FileLock
from support.jobs import draw_photographs, job_config, run

from sam_batch.job import decoders, pictures, room
from sam_batch.job.room import Room, bytes_of


@pytest.fixture
def large(tmp_path):
    return tmp_path / "large.lock"


@pytest.mark.parametrize(("wanted", "at_once"), [(10, 2), (20, 1), (99, 1)])
def test_what_is_taken_at_once_fits_and_what_is_larger_goes_alone(wanted, at_once, large):
    def work(_):
        with place.taken(wanted):
            return place._taken // wanted

    place = Room(25, large)
    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(50))) <= at_once
    assert place._taken == 0


def test_who_is_to_be_alone_waits_for_all_others(large):
    place = Room(25, large)
    with place.taken(3, alone=True):
        assert place._taken > 25
    assert place._taken == 0


def test_who_fails_gives_back_what_it_took(large):
    place = Room(10, large)
    for wanted in (10, 11):
        with pytest.raises(ZeroDivisionError), place.taken(wanted):
            1 / 0  # noqa: B018
    assert place._taken == 0


@pytest.mark.parametrize(("wanted", "times"), [(3, 0), (4, 1), (99, 1)])
def test_what_threads_would_keep_of_large_images_goes_back_to_the_system(wanted, times, large, monkeypatch):
    given_back = []
    monkeypatch.setattr(room, "_give_back", lambda: given_back.append(True))
    with Room(25, large).taken(wanted):
        assert not given_back
    assert len(given_back) == times


def test_memory_can_be_given_back_on_every_c_library(monkeypatch):
    room._give_back()
    monkeypatch.setattr(room.ctypes, "CDLL", lambda name: object())
    room._give_back()


def test_one_process_of_a_machine_has_a_larger_image_at_a_time(large):
    def take(wanted):
        with Room(10, large).taken(wanted):
            entered.set()

    entered = Event()
    with ThreadPoolExecutor(1) as pool, FileLock(large):
        pool.submit(take, 10).result()
        entered.clear()
        pool.submit(take, 11)
        assert not entered.wait(0.1)
    assert entered.is_set()


def test_a_process_that_hangs_with_a_large_image_does_not_stop_others(large, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.01)
    with FileLock(large), Room(10, large).taken(11):
        pass


def test_images_take_what_their_headers_say_while_they_are_decoded_and_drawn(tmp_path, large, monkeypatch):
    class Recording(Room):
        def taken(self, wanted, **how):
            asked.append(wanted)
            return super().taken(wanted, **how)

    asked, place = [], Recording(1, large)
    for module in (decoders, pictures):
        monkeypatch.setattr(module, "pixel_room", lambda: place)
    draw_photographs(tmp_path / "photos", 2)  # of 64 x 48
    assert run(job_config(tmp_path / "photos", tmp_path / "out")).exit_code == 0
    assert asked == [bytes_of(64 * 48)] * 4


def test_bands_beyond_three_take_more():
    assert bytes_of(100, 13) > 2 * bytes_of(100, 3) == 2 * bytes_of(100, 1)


def test_a_process_has_the_part_of_one_cpu_of_half_the_memory(monkeypatch):
    monkeypatch.setattr(room, "usable_cpus", lambda: 4)
    monkeypatch.setattr(room, "usable_memory", lambda: 16 << 30)
    assert room.pixel_room.__wrapped__()._size == 2 << 30

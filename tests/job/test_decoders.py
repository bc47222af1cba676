"""A file that is the end of its decoders costs one row; a decoder that ended for other reasons costs none."""

import errno
import platform
import subprocess
from contextlib import closing, nullcontext

import pytest
from support.corpus import corpus, encode, picture
from support.decoding import FATAL_HEIGHT, GREEDY_HEIGHT, HANGING_HEIGHT
from support.jobs import draw_photographs, job_config, rows, run

from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import ImageError
from sam_batch.job import decoders, executor
from sam_batch.job.deadline import never
from sam_batch.job.decoders import CLOCKS, Decoder, Sandboxes
from sam_batch.job.spec import JobSpec
from sam_batch.records import FailureKind


@pytest.fixture
def use(monkeypatch):
    """Has images decoded by another function, in processes of this test's own."""
    with closing(Sandboxes("")) as own:
        monkeypatch.setattr(decoders, "sandboxes", lambda: own)

        def use(work):
            own._work = f"support.decoding:{work}"
            return own

        yield use


def decoder(renew=never, **run):
    return Decoder(JobSpec(job_config("in", "out", run=run), FAKE, FakeChoice()), renew, 1)


PNG = corpus()["png.png"][0]
FATAL = encode(picture(9, FATAL_HEIGHT), "PNG")


def test_files_that_crash_or_take_all_memory_cost_a_row_each(tmp_path, use, monkeypatch):
    use("faulty")
    monkeypatch.setattr(decoders, "usable_cpus", lambda: 1)
    draw_photographs(tmp_path / "photos", 2)
    (tmp_path / "photos/a.png").write_bytes(FATAL)
    (tmp_path / "photos/b.png").write_bytes(encode(picture(9, GREEDY_HEIGHT), "PNG"))
    report = run(job_config(tmp_path / "photos", tmp_path / "out", run={"max_failure_rate": 1.0}))
    assert (report.exit_code, report.done) == (0, 4)
    assert [row["error"] and tuple(row["error"].values()) for row in rows(tmp_path / "out")] == [
        None,
        None,
        ("load", "worker_crash", "its decoder died of signal 6 (SIGABRT)"),
        ("load", "out_of_memory", ""),
    ]


def test_a_file_that_decoders_hang_on_times_out(use):
    use("faulty")
    with pytest.raises(ImageError, match=r"did not end within 1 s \(run.image_timeout_seconds\)") as caught:
        decoder(image_timeout_seconds=1).decode(encode(picture(9, HANGING_HEIGHT), "PNG"), prompted=False)
    assert caught.value.kind is FailureKind.TIMED_OUT


def test_a_decoder_that_others_killed_is_not_held_against_its_image(tmp_path, use, caplog):
    use("killed_once")
    (tmp_path / "a.png").write_bytes(PNG)
    image = decoder().decode(bytes(tmp_path / "a.png"), prompted=False)
    assert (image.height, image.width) == (32, 48)
    told = "its decoder died of signal 9 (SIGKILL), and went well when it was tried again"
    assert [record.message for record in caplog.records] == ["odd pixels", told]


def test_each_try_has_a_process_and_time_of_its_own_and_the_second_all_memory(use, monkeypatch):
    class Recording:
        def taken(self, wanted, *, alone):
            asked.append(alone)
            return nullcontext()

    own, asked, renewed = use("faulty"), [], []
    monkeypatch.setattr(decoders, "pixel_room", Recording)
    own.start()
    (first,) = own._idle
    own.start()
    decoder(renewed.append).decode(PNG, prompted=False)
    assert own._idle == [first]
    with pytest.raises(ImageError) as caught:
        decoder(renewed.append).decode(FATAL, prompted=False)
    assert caught.value.kind is FailureKind.WORKER_CRASH
    assert (own._idle, asked, renewed) == ([], [False, False, True], [CLOCKS] * 3)


def test_where_none_can_start_the_job_ends_and_no_image_fails(tmp_path, use):
    use("nothing_of_that_name")
    draw_photographs(tmp_path / "photos", 1)
    report = run(job_config(tmp_path / "photos", tmp_path / "out"))
    assert (report.exit_code, report.done) == (1, 0)
    assert "the process that decodes images ended with exit code 1 as it started" in report.error


def test_a_machine_without_room_for_one_is_waited_for_and_no_image_fails(tmp_path, use, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    own = use("faulty")
    monkeypatch.setattr(executor, "sandboxes", lambda: own)
    draw_photographs(tmp_path / "photos", 1)
    config = job_config(tmp_path / "photos", tmp_path / "out", storage={"outage_seconds": 0})
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", full)
        report = run(config)
    assert (report.exit_code, rows(tmp_path / "out")) == (1, [])
    assert f"nothing can be decoded on {platform.node()}: Resource temporarily unavailable" in report.error
    assert run(config).done == 1


def test_no_more_decode_side_by_side_than_there_are_cpus(monkeypatch):
    monkeypatch.setattr(decoders, "usable_cpus", lambda: 3)
    assert decoders.decoders_here() == 3
    monkeypatch.setattr(decoders, "usable_cpus", lambda: 300)
    assert decoders.decoders_here() == 8

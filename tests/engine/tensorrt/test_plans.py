import errno
import json
import os
from dataclasses import replace

import pytest
from filelock import FileLock, Timeout

from sam_batch.engine.tensorrt import plans as tensorrt_plans
from sam_batch.engine.tensorrt.plan_key import Machine, PlanKey
from sam_batch.engine.tensorrt.plans import PlanStore
from sam_batch.errors import EngineError, EngineFileError, OutputError, UnverifiedError

MACHINE = Machine("11.4.0", "13", "linux-x86_64", "Stand-in", "9.0")
KEY = PlanKey(
    graph="encoder",
    model="vit_b",
    precision="fp16",
    checkpoint_sha256="a" * 64,
    onnx_sha256="b" * 64,
    machine=MACHINE,
    profiles={"images": ((1, 3, 8, 8), (2, 3, 8, 8), (2, 3, 8, 8))},
    options={"workspace_bytes": 1 << 30},
)
OTHERS = {
    "tensorrt": replace(KEY, machine=replace(MACHINE, tensorrt="10.3.0")),
    "cuda": replace(KEY, machine=replace(MACHINE, cuda="12")),
    "platform": replace(KEY, machine=replace(MACHINE, platform="linux-aarch64")),
    "gpu": replace(KEY, machine=replace(MACHINE, gpu="Another")),
    "compute_capability": replace(KEY, machine=replace(MACHINE, compute_capability="8.6")),
    "onnx_sha256": replace(KEY, onnx_sha256="c" * 64),
    "checkpoint_sha256": replace(KEY, checkpoint_sha256="c" * 64),
    "precision": replace(KEY, precision="fp32"),
    "profiles.images": replace(KEY, profiles={"images": ((1, 3, 8, 8), (4, 3, 8, 8), (4, 3, 8, 8))}),
    "options.workspace_bytes": replace(KEY, options={"workspace_bytes": 1 << 20}),
}


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "engines")


def files(store):
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def path_of(store, extension):
    return store.folder / "plans" / f"{KEY.name}.{extension}"


def test_a_stored_plan_is_found_and_read(store):
    record = store.store(KEY, b"plan", 1.5)
    assert (store.find(KEY), store.read(KEY)) == (record, (record, b"plan"))
    assert list(store.records()) == [record]
    assert files(store) == [f"{KEY.name}.json", f"{KEY.name}.plan"]


def test_the_sidecar_tells_the_whole_key_to_a_person(store):
    store.store(KEY, b"plan", 1.5)
    told = json.loads(path_of(store, "json").read_text())
    assert told["key"]["machine"]["gpu"] == "Stand-in"
    assert told["key"]["profiles"]["images"][2] == [2, 3, 8, 8]


def test_the_folder_belongs_to_the_user_alone(store):
    store.store(KEY, b"plan", 1.5)
    assert (store.folder / "plans").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("field", OTHERS)
def test_a_plan_of_another_key_is_not_found_and_the_difference_is_named(store, field):
    store.store(OTHERS[field], b"plan", 1.5)
    with pytest.raises(EngineFileError, match=rf"the nearest was built for another {field} .*sam-batch engine build"):
        store.read(KEY)


def test_no_plan_at_all_names_the_command(store):
    with pytest.raises(
        EngineFileError, match=r"no TensorRT plan of vit_b encoder in fp16 .*; run sam-batch engine build"
    ):
        store.find(KEY)


@pytest.mark.parametrize(
    ("data", "message"), [(b"pla", "truncated"), (b"plan and more", "truncated"), (b"plaN", "altered")]
)
def test_a_plan_that_changed_is_refused(store, data, message):
    store.store(KEY, b"plan", 1.5)
    path_of(store, "plan").write_bytes(data)
    for look in (store.find, store.read):
        with pytest.raises(EngineFileError, match=message):
            look(KEY)


def test_a_sidecar_that_was_renamed_or_damaged_is_refused(store):
    other = store.store(OTHERS["gpu"], b"plan", 1.5)
    store.store(KEY, b"plan", 1.5)
    path_of(store, "json").write_bytes((store.folder / "plans" / f"{other.name}.json").read_bytes())
    with pytest.raises(EngineFileError, match="does not describe"):
        store.find(KEY)
    path_of(store, "json").write_bytes(b"{")
    with pytest.raises(EngineFileError, match="no TensorRT plan"):
        store.find(KEY)


@pytest.mark.parametrize(
    "content", [b"[]", b'{"key": []}', b'{"name": "a", "key": [], "sha256": "b", "size": 1, "seconds": 1.0}', b"\xff"]
)
def test_what_is_no_sidecar_is_passed_over(store, content):
    record = store.store(KEY, b"plan", 1.5)
    (store.folder / "plans" / "a folder.json").mkdir()
    (store.folder / "plans" / "other.json").write_bytes(content)
    assert list(store.records()) == [record]
    with pytest.raises(EngineFileError, match="the nearest was built for another precision"):
        store.find(replace(KEY, precision="fp32"))


def test_a_sidecar_of_another_version_is_still_told_of(store):
    record = store.store(KEY, b"plan", 1.5)
    assert "TensorRT 11.4.0  Stand-in  not verified" in record.to_text()
    assert (
        "TensorRT None  compute capability None  not verified"
        in replace(record, key={"machine": ["another form"]}).to_text()
    )


def test_a_sidecar_names_no_other_file(store):
    store.store(KEY, b"plan", 1.5)
    told = json.loads(path_of(store, "json").read_text())
    path_of(store, "json").write_text(json.dumps(told | {"name": "../another"}))
    with pytest.raises(EngineFileError, match="does not describe"):
        store.find(KEY)


def test_what_the_file_system_refuses_to_list_or_read_holds_no_plans(store, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    store.store(KEY, b"plan", 1.5)
    store.store_timing_cache(MACHINE, b"measured")
    for name in ("read_bytes", "glob"):
        with monkeypatch.context() as patch:
            patch.setattr(tensorrt_plans.Path, name, refuse)
            assert list(store.records()) == []
    monkeypatch.setattr(tensorrt_plans.Path, "read_bytes", refuse)
    assert store.timing_cache(MACHINE) == b""


def test_a_plan_that_cannot_be_read_is_an_error_that_names_it(store, monkeypatch):
    opened = tensorrt_plans.Path.open

    def stale(path, *arguments, **named):
        if path.suffix == ".plan":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, *arguments, **named)

    store.store(KEY, b"plan", 1.5)
    monkeypatch.setattr(tensorrt_plans.Path, "open", stale)
    for look in (store.find, store.read):
        with pytest.raises(
            EngineFileError, match=r"\.plan: cannot be read: Stale file handle; run sam-batch engine build"
        ):
            look(KEY)


def test_a_folder_that_cannot_be_entered_is_an_error_that_names_it(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(
        EngineFileError, match=r"cannot be read: Not a directory; set engine\.tensorrt\.folder to another"
    ):
        PlanStore(tmp_path / "engines").find(KEY)


def test_a_folder_that_others_may_write_to_is_refused(store):
    store.store(KEY, b"plan", 1.5)
    (store.folder / "plans").chmod(0o777)
    for look in (store.find, store.read):
        with pytest.raises(EngineFileError, match="others may write here"):
            look(KEY)


def test_a_folder_of_another_user_is_refused(store, monkeypatch):
    store.store(KEY, b"plan", 1.5)
    monkeypatch.setattr(tensorrt_plans.os, "geteuid", lambda: (store.folder / "plans").stat().st_uid + 1)
    with pytest.raises(EngineFileError, match=r"others may write here.* or set engine\.tensorrt\.folder to another"):
        store.find(KEY)


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    monkeypatch.setattr(tensorrt_plans.os, "fsync", full)
    with pytest.raises(EngineError, match=r"No space left on device; free some space, or set engine\.tensorrt\.folder"):
        store.store(KEY, b"plan", 1.5)
    assert files(store) == []


def test_a_file_in_the_folders_place_is_a_mistake_of_the_configuration(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(OutputError, match="cannot be made"), PlanStore(tmp_path / "engines").locked():
        pass


def test_plans_count_as_verified_only_together(store):
    decoder = replace(KEY, graph="score")
    built = [store.store(KEY, b"plan", 1.5), store.store(decoder, b"other", 1.5)]
    with pytest.raises(EngineFileError, match="not verified on here; run sam-batch engine verify"):
        store.verified(built, "here")
    store.set_verified(built, "here", {"cosine": 0.9999})
    assert store.verified([store.find(KEY), store.find(decoder)], "here")["cosine"] == 0.9999
    store.store(decoder, b"built anew", 1.5)
    with pytest.raises(EngineFileError, match="not verified"):
        store.verified([store.find(KEY), store.find(decoder)], "here")


def test_what_was_verified_in_one_place_is_not_in_another_and_both_are_kept(store):
    built = [store.store(KEY, b"plan", 1.5)]
    store.set_verified(built, "an L4", {"cosine": 0.99})
    with pytest.raises(UnverifiedError, match="not verified on an L40S; run sam-batch engine verify"):
        store.verified([store.find(KEY)], "an L40S")
    store.set_verified(built, "an L40S", {"cosine": 0.98})
    found = [store.verified([store.find(KEY)], where)["cosine"] for where in ("an L4", "an L40S")]
    assert found == [0.99, 0.98]
    assert "verified on an L4; an L40S" in store.find(KEY).to_text()


def test_plans_that_were_verified_with_one_more_are_verified_without_it(store):
    """A job without prompts uses some of those of a job with prompts."""
    built = [store.store(KEY, b"plan", 1.5), store.store(replace(KEY, graph="prompted"), b"other", 1.5)]
    store.set_verified(built, "here", {"cosine": 0.99})
    assert store.verified([store.find(KEY)], "here")["cosine"] == 0.99


def test_what_was_compiled_of_a_plan_is_kept_beside_it_for_each_place(store):
    record = store.store(KEY, b"plan", 1.5)
    assert store.compiled(record, "an L4 with driver 580.1") == b""
    store.store_compiled(record, "an L4 with driver 580.1", b"kernels")
    assert store.compiled(record, "an L4 with driver 580.1") == b"kernels"
    assert store.compiled(record, "an L4 with driver 590.1") == b""
    assert (store.folder / "plans" / f"{KEY.name}.an_L4_with_driver_580.1.compiled").is_file()


@pytest.mark.parametrize(
    "change", [lambda store: store.store(KEY, b"plaN", 1.5), lambda store: path_of(store, "json").unlink()]
)
def test_what_changed_while_it_was_verified_is_not_marked(store, change):
    decoder = replace(KEY, graph="score")
    built = [store.store(decoder, b"other", 1.5), store.store(KEY, b"plan", 1.5)]
    change(store)
    with pytest.raises(
        EngineFileError, match=f"{KEY.name} was changed while it was verified; run sam-batch engine verify"
    ):
        store.set_verified(built, "here", {"cosine": 0.9999})
    assert not any(record.verified for record in store.records())


def test_timing_caches_are_kept_for_each_machine(store):
    assert store.timing_cache(MACHINE) == b""
    store.store_timing_cache(MACHINE, b"measured")
    assert store.timing_cache(MACHINE) == b"measured"
    assert store.timing_cache(replace(MACHINE, tensorrt="10.3.0")) == b""


def test_one_builder_waits_for_another(store):
    with store.locked(), pytest.raises(Timeout):
        FileLock(store.folder / "plans" / ".lock").acquire(timeout=0)


def test_the_next_builder_removes_what_a_killed_one_left_half_written(store, monkeypatch):
    """What is killed while it writes cannot clean up."""
    record = store.store(KEY, b"plan", 1.5)
    store.store_timing_cache(MACHINE, b"measured")
    whole = files(store)
    with monkeypatch.context() as patch:
        patch.setattr(tensorrt_plans.Path, "unlink", lambda *_, **__: None)
        patch.setattr(tensorrt_plans.os, "fsync", full)
        for store_half in (lambda: store.store(KEY, b"", 1.5), lambda: store.store_timing_cache(MACHINE, b"")):
            with pytest.raises(EngineError):
                store_half()
    assert len(files(store)) == len(whole) + 2
    with store.locked():
        assert files(store) == sorted([".lock", *whole])
        assert store.find(KEY) == record

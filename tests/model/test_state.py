import contextlib
import hashlib
import io
import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_batch.errors import CheckpointError
from sam_batch.model.state import read_state, require_finite, sha256_of

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.float16)}


class Marker:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def saved(value, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def evil_zip(marker) -> bytes:
    """What torch.save writes, with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as good, zipfile.ZipFile(buffer, "w") as evil:
        for entry in good.infolist():
            data = pickle.dumps({"a": marker}, protocol=2) if entry.filename.endswith("data.pkl") else good.read(entry)
            evil.writestr(entry.filename, data)
    return buffer.getvalue()


READABLE = {
    "torch": saved(STATE),
    "torch before 1.6": saved(STATE, _use_new_zipfile_serialization=False),
    "safetensors": safetensors.torch.save(STATE),
}


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
def test_tensors_are_read_by_what_the_file_is_not_by_its_name(tmp_path, kind, name):
    (tmp_path / name).write_bytes(READABLE[kind])
    found = read_state(tmp_path / name)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"these are no weights, only words in a file that someone named .pth", "is no checkpoint"),
    "one byte": (b"P", "is no checkpoint"),
    "web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "is a web page"),
    "truncated torch": (READABLE["torch"][:-200], "is damaged"),
    "truncated old torch": (READABLE["torch before 1.6"][:-20], "is damaged"),
    "truncated safetensors": (READABLE["safetensors"][:-8], "is damaged"),
    "safetensors with a huge header": ((2**40).to_bytes(8, "little") + b"{}", "is damaged"),
    "only a zip": (b"PK\x03\x04" + bytes(200), "is damaged"),
    "a list": (saved([1, 2, 3]), "holds a list"),
    "nothing": (saved({}), "holds a dict"),
    "a training checkpoint": (saved({"model": STATE, "epoch": 3}), "'model' is no floating-point tensor"),
    "integers": (saved({"a": torch.arange(3)}), "'a' is no floating-point tensor"),
    "numbers for names": (saved({1: torch.ones(3)}), "1 is no floating-point tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_are_refused_in_one_line_with_cause_and_remedy(tmp_path, kind):
    data, cause = REFUSED[kind]
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_state(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert cause in message
    assert "again" in message or "save model.state_dict()" in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", READABLE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_raises_another_error(tmp_path, kind, data):
    """A damaged byte can go unseen, which is what hashes are for; it must not surface as some library's error."""
    damaged = bytearray(READABLE[kind])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "w.pth"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with contextlib.suppress(CheckpointError):
        read_state(path)


@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, kind):
    marker = Marker(tmp_path / "was_run")
    evil = {
        "zip": lambda: evil_zip(marker),
        "old": lambda: saved({"a": marker}, _use_new_zipfile_serialization=False),
        "bare": lambda: pickle.dumps(marker),
    }[kind]()
    path = tmp_path / "w.pth"
    path.write_bytes(evil)
    with pytest.raises(CheckpointError, match=r"running it is refused|is no checkpoint"):
        read_state(path)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    bad = {"good": torch.ones(3), "empty": torch.ones(0), "bad.bias": torch.tensor([1.0, value, 2.0])}
    with pytest.raises(CheckpointError, match=r"bad\.bias holds NaN or infinity"):
        require_finite(bad, tmp_path / "w.pth")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert sha256_of(tmp_path / "w.pth") == hashlib.sha256(b"weights").hexdigest()


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"w\.pth: no such file; check model\.checkpoint"):
        sha256_of(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="is a folder; name the file of weights in it"):
        sha256_of(tmp_path)

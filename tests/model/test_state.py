import contextlib
import io
import json
import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_batch.errors import CheckpointError
from sam_batch.model.state import is_finite, read_tree

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
    found = read_tree(tmp_path / name)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


INDEX = json.dumps({"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors", "z": "a-1.safetensors"}}).encode()
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
    "a whole model": (saved(torch.nn.Linear(2, 2)), "holds more than tensors"),
    "an index of several files": (INDEX, "is the index of weights in 2 files (a-1.safetensors, a-2.safetensors)"),
    "other JSON": (b'{"weight": {"a": 1}, "epoch": 7, "more": "words than a head has"}', "is no checkpoint"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_are_refused_in_one_line_with_cause_and_remedy(tmp_path, kind):
    data, cause = REFUSED[kind]
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_tree(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert cause in message
    assert any(remedy in message for remedy in ("again", "save model.state_dict()", "into one file"))
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
        read_tree(path)


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
        read_tree(path)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_not_finite_is_found(value):
    assert is_finite(torch.tensor([1.0, 2.0]))
    assert is_finite(torch.ones(0))
    assert not is_finite(torch.tensor([1.0, value, 2.0]))


def test_a_torchscript_program_is_called_one(tmp_path):
    (tmp_path / "w.pt").write_bytes(READABLE["torch"])
    with zipfile.ZipFile(tmp_path / "w.pt", "a") as archive:
        archive.writestr("archive/constants.pkl", b"")  # by which torch knows them
    with pytest.raises(CheckpointError, match=r"is a TorchScript program.*save model\.state_dict\(\)"):
        read_tree(tmp_path / "w.pt")

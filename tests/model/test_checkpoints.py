import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import http
from support.small_sam import SmallFamily, small_sam

from sam_batch.errors import CheckpointError
from sam_batch.model import families
from sam_batch.model.checkpoints import find_here, require_sha256, resolve_checkpoint, sha256_of
from sam_batch.model.sam.models import DEMO, VIT_B


def resolve(path, name="auto", **options):
    return resolve_checkpoint(name, str(path), **options)


def test_weights_say_what_they_are(weights):
    resolved = resolve(weights)
    assert (resolved.name, resolved.image_side, resolved.url) == ("vit_b", 128, None)
    assert resolved.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert pickle.loads(pickle.dumps(resolved)) == resolved


def test_a_published_hash_names_the_model_without_a_look_at_the_tensors(tmp_path, monkeypatch):
    """Nor does it need torch, which `plan` and `status` do without."""
    path = tmp_path / "renamed.bin"
    path.write_bytes(b"as published")
    published = replace(VIT_B, sha256=hashlib.sha256(b"as published").hexdigest())
    monkeypatch.setattr(families, "FAMILIES", (type("Published", (SmallFamily,), {"models": (published,)})(),))
    assert resolve(path).name == "vit_b"
    code = f"import sys; from sam_batch.model.checkpoints import resolve_checkpoint as r; r('demo', {DEMO.source!r})"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True, timeout=60)


def test_a_name_that_the_weights_contradict_is_refused(weights):
    with pytest.raises(CheckpointError, match=r"model\.name is vit_l, but these weights are vit_b; set "):
        resolve(weights, "vit_l")


def test_a_flipped_byte_is_refused(weights):
    data = bytearray(weights.read_bytes())
    expected = hashlib.sha256(data).hexdigest()
    assert resolve(weights, sha256=expected).sha256 == expected
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"is damaged or another file: its sha256 is .*{expected}"):
        resolve(weights, sha256=expected)


def test_weights_that_are_not_finite_are_refused_by_name(weights):
    state = small_sam().state_dict()
    state["mask_decoder.mask_tokens.weight"][2, 3] = torch.nan
    torch.save(state, weights)
    with pytest.raises(CheckpointError, match=r"mask_tokens\.weight holds NaN or infinity; use a checkpoint of an"):
        resolve(weights)


def test_where_wrapped_weights_were_found_is_noted(weights, caplog):
    torch.save({"model": small_sam().state_dict(), "epoch": 3}, weights)
    resolve(weights)
    assert caplog.messages == [f"{weights}: the weights are those of model"]


def test_a_file_with_a_published_name_must_have_its_hash(weights):
    weights = weights.rename(weights.with_name("sam_vit_b_01ec64.pth"))
    with pytest.raises(CheckpointError, match=f"expected {VIT_B.sha256}"):
        resolve(weights)
    own = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert resolve(weights, sha256=own).name == "vit_b"


def test_a_home_folder_is_written_short(weights, monkeypatch):
    monkeypatch.setenv("HOME", str(weights.parent))
    assert resolve("~/weights.pth").path == str(weights)


def test_by_url_every_machine_fetches_its_own(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    with http.serve() as server:
        server.files["w.pth"] = weights.read_bytes()
        resolved = resolve(f"{server.url}/w.pth")
        assert resolved.url == f"{server.url}/w.pth"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "worker"))
        (tmp_path / "driver").rename(tmp_path / "elsewhere")
        assert find_here(resolved).read_bytes() == weights.read_bytes()
        assert server.hits.total() == 2


def test_the_packages_own_weights_may_lie_elsewhere_on_a_worker():
    demo = replace(resolve_checkpoint("demo"), path="/the/drivers/own/demo.safetensors")
    assert find_here(demo) == Path(DEMO.source)


def test_a_path_that_a_worker_lacks_is_an_error(weights):
    with pytest.raises(CheckpointError, match="no such file"):
        find_here(replace(resolve(weights), path="/the/drivers/own/weights.pth"))


def test_a_file_that_changed_after_it_was_resolved_is_refused(weights):
    resolved = resolve(weights)
    torch.save(small_sam(seed=1).state_dict(), weights)
    with pytest.raises(CheckpointError, match="is damaged or another file"):
        find_here(resolved)


def test_the_demo_is_recognised_under_another_name(tmp_path):
    (tmp_path / "copy").write_bytes(Path(DEMO.source).read_bytes())
    assert resolve(tmp_path / "copy").name == "demo"


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert require_sha256(tmp_path / "w.pth", None) == hashlib.sha256(b"weights").hexdigest()


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"w\.pth: no such file; check model\.checkpoint"):
        sha256_of(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="is a folder; name the file of weights in it"):
        sha256_of(tmp_path)

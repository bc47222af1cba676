import hashlib
import pickle
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from model.sam.test_huggingface import as_huggingface
from segment_anything.modeling import Sam
from support import http
from support.small_sam import skeleton, small_sam

from sam_batch.config import ModelConfig
from sam_batch.errors import CheckpointError
from sam_batch.model import checkpoints, names
from sam_batch.model.checkpoints import load_resolved, load_sam, resolve_checkpoint
from sam_batch.model.sam.demo import SIDE


@pytest.fixture
def small_models(monkeypatch):
    """Small models in the place of real ones: what is known by name is a table."""
    builders = {"vit_b": lambda: skeleton(depth=2), "vit_l": lambda: skeleton(depth=3)}
    monkeypatch.setattr(checkpoints, "_BUILDERS", builders)
    checkpoints._known_signature.cache_clear()
    yield
    checkpoints._known_signature.cache_clear()


@pytest.fixture
def weights(tmp_path, small_models):
    """A file of a small `vit_b`."""
    path = tmp_path / "weights.pth"
    torch.save(small_sam().state_dict(), path)
    return path


def config(path, **settings):
    return ModelConfig(checkpoint=str(path), **{"name": "auto"} | settings)


def same_weights(one: Sam, other: Sam) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


class TestLoad:
    def test_gives_the_sam_that_was_saved(self, weights):
        sam = load_sam(weights)
        assert type(sam) is Sam
        assert same_weights(sam, small_sam())
        assert not sam.training
        assert {(one.dtype, one.device.type) for one in [*sam.parameters(), *sam.buffers()]} == {(torch.float32, "cpu")}
        image = torch.rand(1, 3, 128, 128)
        assert torch.equal(sam.image_encoder(image), small_sam().image_encoder(image))
        assert torch.equal(sam.pixel_mean, small_sam().pixel_mean)

    def test_weights_outlive_their_file(self, weights):
        sam = load_sam(weights)
        weights.write_bytes(bytes(weights.stat().st_size))
        assert same_weights(sam, small_sam())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_weights_become_float32(self, tmp_path, small_models, dtype):
        half = {name: tensor.to(dtype) for name, tensor in small_sam().state_dict().items()}
        safetensors.torch.save_file(half, tmp_path / "half.safetensors")
        state = load_sam(tmp_path / "half.safetensors").state_dict()
        assert all(torch.equal(state[name], half[name].float()) for name in half)

    def test_hugging_face_names_are_understood(self, tmp_path, small_models):
        state = as_huggingface(small_sam().state_dict())
        safetensors.torch.save_file({name: one.clone() for name, one in state.items()}, tmp_path / "m.safetensors")
        assert same_weights(load_sam(tmp_path / "m.safetensors"), small_sam())

    def test_a_resolved_checkpoint_crosses_processes(self, weights):
        resolved = pickle.loads(pickle.dumps(resolve_checkpoint(config(weights))))
        assert same_weights(load_resolved(resolved), small_sam())

    def test_a_file_that_changed_after_it_was_resolved_is_refused(self, weights):
        resolved = resolve_checkpoint(config(weights))
        torch.save(small_sam(seed=1).state_dict(), weights)
        with pytest.raises(CheckpointError, match="is damaged or another file"):
            load_resolved(resolved)


class TestResolve:
    def test_says_what_the_weights_are(self, weights):
        resolved = resolve_checkpoint(config(weights))
        assert resolved.name == "vit_b"
        assert resolved.image_side == 128
        assert resolved.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert resolved.url is None

    def test_the_fake_engine_needs_no_weights(self):
        assert resolve_checkpoint(ModelConfig(name="vit_h"), engine_kind="fake") == names.FAKE

    def test_a_name_that_the_weights_contradict_is_refused(self, weights):
        with pytest.raises(CheckpointError, match=r"model\.name is vit_l, but these weights are vit_b; set "):
            resolve_checkpoint(config(weights, name="vit_l"))

    def test_a_flipped_byte_is_refused(self, weights):
        data = bytearray(weights.read_bytes())
        expected = hashlib.sha256(data).hexdigest()
        assert resolve_checkpoint(config(weights, sha256=expected)).sha256 == expected
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
        with pytest.raises(CheckpointError, match=f"is damaged or another file: its sha256 is .*{expected}"):
            resolve_checkpoint(config(weights, sha256=expected))

    def test_a_file_with_a_published_name_must_have_its_hash(self, weights):
        weights = weights.rename(weights.with_name("sam_vit_b_01ec64.pth"))
        with pytest.raises(CheckpointError, match=f"expected {names.PUBLISHED['vit_b'].sha256}"):
            resolve_checkpoint(config(weights))
        own = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert resolve_checkpoint(config(weights, sha256=own)).name == "vit_b"

    def test_a_home_folder_is_written_short(self, weights, monkeypatch):
        monkeypatch.setenv("HOME", str(weights.parent))
        assert resolve_checkpoint(config("~/weights.pth")).path == str(weights)

    def test_by_url_every_machine_fetches_its_own(self, weights, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
        with http.serve() as server:
            server.files["w.pth"] = weights.read_bytes()
            resolved = resolve_checkpoint(config(f"{server.url}/w.pth"))
            assert resolved.url == f"{server.url}/w.pth"
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "worker"))
            (tmp_path / "driver").rename(tmp_path / "elsewhere")
            assert same_weights(load_resolved(resolved), small_sam())
            assert server.hits.total() == 2

    def test_the_packages_own_weights_may_lie_elsewhere_on_a_worker(self, weights, monkeypatch):
        resolved = replace(resolve_checkpoint(config(weights)), path="/the/drivers/own/demo.safetensors")
        with pytest.raises(CheckpointError, match="no such file"):
            load_resolved(resolved)
        monkeypatch.setattr(checkpoints, "DEMO_PATH", weights)
        monkeypatch.setattr(checkpoints, "DEMO_SHA256", resolved.sha256)
        assert same_weights(load_resolved(resolved), small_sam())


def without(state):
    del state["image_encoder.pos_embed"]
    del state["mask_decoder.iou_token.weight"]


def with_more(state):
    state["ema.decay"] = torch.ones(1)


def misshapen(state):
    state["prompt_encoder.no_mask_embed.weight"] = torch.ones(1, 7)


def deeper(state):
    state["image_encoder.blocks.7.norm1.weight"] = torch.ones(32)


def headless(state):
    for name in [name for name in state if name.startswith("image_encoder")]:
        del state[name]


def not_finite(state):
    state["mask_decoder.mask_tokens.weight"][2, 3] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (without, "lacks image_encoder.pos_embed, mask_decoder.iou_token.weight"),
        (with_more, "has unknown ema.decay"),
        (misshapen, r"misshapen prompt_encoder.no_mask_embed.weight \(1, 7\) instead of \(1, 32\)"),
        (deeper, "no SAM known here .an image encoder of width 32 and 3 blocks|has unknown|lacks"),
        (headless, "no SAM known here .it has no image encoder"),
        (not_finite, "mask_decoder.mask_tokens.weight holds NaN"),
    ],
)
def test_spoilt_weights_are_refused_in_one_line(tmp_path, small_models, spoil, cause):
    path = tmp_path / "weights.pth"
    state = small_sam().state_dict()
    spoil(state)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=cause) as caught:
        load_sam(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # cause; remedy


def test_an_unknown_name_is_taken_for_a_path():
    with pytest.raises(CheckpointError, match="vit_x: no such file"):
        load_sam("vit_x")


class TestRealModels:
    """Of the modules themselves; the weights are too large for a test."""

    @pytest.mark.parametrize(
        ("name", "signature", "side"),
        [
            ("vit_b", (768, 12), 1024),
            ("vit_l", (1024, 24), 1024),
            ("vit_h", (1280, 32), 1024),
            ("demo", (192, 8), SIDE),
        ],
    )
    def test_are_told_apart_by_width_and_depth(self, name, signature, side):
        assert checkpoints._known_signature(name) == signature
        assert checkpoints._skeleton(name).image_encoder.img_size == side

    def test_published_files_carry_the_beginning_of_another_hash_in_their_name(self):
        assert [one.url.rpartition("/")[2] for one in names.PUBLISHED.values()] == [
            "sam_vit_b_01ec64.pth",
            "sam_vit_l_0b3195.pth",
            "sam_vit_h_4b8939.pth",
        ]
        assert all(len(bytes.fromhex(one.sha256)) == 32 for one in names.PUBLISHED.values())


class TestDemo:
    def test_the_constant_is_the_hash_of_the_file(self):
        """After new weights: put the hash that this test reports into `model/names.py`."""
        assert hashlib.sha256(names.DEMO_PATH.read_bytes()).hexdigest() == names.DEMO_SHA256

    def test_loads_by_name_and_runs(self):
        sam = load_sam("demo")
        assert sam.image_encoder.img_size == SIDE
        assert resolve_checkpoint(ModelConfig(name="demo")).name == "demo"

    def test_is_recognised_under_another_name(self, tmp_path):
        (tmp_path / "copy").write_bytes(names.DEMO_PATH.read_bytes())
        assert resolve_checkpoint(config(tmp_path / "copy")).name == "demo"

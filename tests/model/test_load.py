import pickle

import pytest
import safetensors.torch
import torch
from model.sam.test_huggingface import as_huggingface
from segment_anything.modeling import Sam
from support.small_sam import small_sam

from sam_batch.errors import CheckpointError
from sam_batch.model import recognise
from sam_batch.model.checkpoints import resolve_checkpoint
from sam_batch.model.load import copy_model, load_model, load_resolved
from sam_batch.model.sam.demo import SIDE


def same_weights(one: Sam, other: Sam) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


class TestLoad:
    def test_gives_the_sam_that_was_saved(self, weights):
        sam = load_model(weights)
        assert type(sam) is Sam
        assert same_weights(sam, small_sam())
        assert not sam.training
        assert {(one.dtype, one.device.type) for one in [*sam.parameters(), *sam.buffers()]} == {(torch.float32, "cpu")}
        image = torch.rand(1, 3, 128, 128)
        assert torch.equal(sam.image_encoder(image), small_sam().image_encoder(image))
        assert torch.equal(sam.pixel_mean, small_sam().pixel_mean)

    def test_weights_outlive_their_file(self, weights):
        sam = load_model(weights)
        weights.write_bytes(bytes(weights.stat().st_size))
        assert same_weights(sam, small_sam())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_weights_become_float32(self, tmp_path, small_models, dtype):
        half = {name: tensor.to(dtype) for name, tensor in small_sam().state_dict().items()}
        safetensors.torch.save_file(half, tmp_path / "half.safetensors")
        state = load_model(tmp_path / "half.safetensors").state_dict()
        assert all(torch.equal(state[name], half[name].float()) for name in half)

    def test_hugging_face_names_are_understood(self, tmp_path, small_models):
        state = as_huggingface(small_sam().state_dict())
        safetensors.torch.save_file({name: one.clone() for name, one in state.items()}, tmp_path / "m.safetensors")
        assert same_weights(load_model(tmp_path / "m.safetensors"), small_sam())

    def test_a_resolved_checkpoint_crosses_processes(self, weights):
        resolved = pickle.loads(pickle.dumps(resolve_checkpoint("auto", str(weights))))
        assert same_weights(load_resolved(resolved), small_sam())

    def test_a_worker_looks_for_no_nan_again(self, weights, monkeypatch):
        resolved = resolve_checkpoint("auto", str(weights))
        monkeypatch.setattr(recognise, "is_finite", None)
        assert same_weights(load_resolved(resolved), small_sam())

    def test_the_demo_loads_by_name_and_runs(self):
        sam = load_model("demo")
        assert sam.image_encoder.img_size == SIDE

    def test_an_unknown_name_is_taken_for_a_path(self):
        with pytest.raises(CheckpointError, match="vit_x: no such file"):
            load_model("vit_x")


class TestCopy:
    @pytest.mark.parametrize(
        "of", [lambda sam: sam, lambda sam: torch.nn.ModuleDict({"model": sam}), lambda sam: sam.double()]
    )
    def test_the_weights_are_those_of_the_module_and_stay_when_it_is_trained(self, small_models, of):
        module = of(small_sam())
        copied = copy_model(module)
        with torch.no_grad():
            next(module.parameters()).zero_()
        assert same_weights(copied.module, small_sam())
        assert (copied.name, copied.module.training) == ("vit_b", False)

    def test_equal_weights_have_one_hash_and_others_another(self, small_models):
        first, same, other = (copy_model(small_sam(seed)).sha256 for seed in (0, 0, 1))
        assert first == same != other

    def test_a_module_that_is_no_model_known_here_is_refused(self):
        with pytest.raises(CheckpointError, match="the Linear given: is no model known here"):
            copy_model(torch.nn.Linear(1, 1))

    def test_an_adapter_is_not_dropped_in_silence(self, small_models):
        sam = small_sam()
        sam.image_encoder.adapter = torch.nn.Linear(1, 1)
        with pytest.raises(CheckpointError, match=r"has unknown image_encoder\.adapter"):
            copy_model(sam)

from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from model.sam.test_huggingface import as_huggingface
from segment_anything.modeling import Sam
from support.small_sam import small_sam

from sam_batch.errors import CheckpointError
from sam_batch.model.recognise import read_weights, require_finite


def behind(prefix):
    """The small SAM's tensors, all with a prefix."""
    return {f"{prefix}{name}": tensor for name, tensor in small_sam().state_dict().items()}


def require_small_sam(path):
    found, expected = read_weights(path).state, behind("")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


WRAPPED = {
    "state_dict": lambda: {"state_dict": behind(""), "epoch": 3},
    "model": lambda: {"model": behind(""), "optimizer": {"state": {0: torch.ones(2)}}, "epoch": 3},
    "ema": lambda: {"ema": behind(""), "step": 7},
    "module.*": lambda: behind("module."),
    "net.*": lambda: behind("net."),
    "sam_model.*": lambda: behind("sam_model."),
    "module.* / _orig_mod.*": lambda: behind("module._orig_mod."),
    "state_dict / module.*": lambda: {"state_dict": OrderedDict(behind("module."))},
    "model_state / module.* / sam.*": lambda: {"model_state": behind("module.sam."), "decoder_state": {}},
    "state_dict / model.*": lambda: {
        "state_dict": behind("model.") | {"loss.weight": torch.ones(3)}, "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": {"lr": 1e-4}, "callbacks": {}, "lr_schedulers": [],
    },
    "teacher": lambda: {"teacher": behind(""), "student": {"head.weight": torch.ones(2)}},
}  # fmt: skip


@pytest.mark.parametrize("where", WRAPPED)
def test_weights_are_found_where_trainers_put_them_and_it_is_said(tmp_path, small_models, where):
    path = tmp_path / "last.ckpt"
    torch.save(WRAPPED[where](), path)
    assert read_weights(path).note == f"the weights are those of {where}"
    require_small_sam(path)


def test_prefixes_in_safetensors_go_too(tmp_path, small_models):
    safetensors.torch.save_file(behind("module."), tmp_path / "m.safetensors")
    require_small_sam(tmp_path / "m.safetensors")


def test_names_of_hugging_face_may_be_wrapped_too(tmp_path, small_models):
    torch.save({"model": as_huggingface(behind(""))}, tmp_path / "hf.pth")
    require_small_sam(tmp_path / "hf.pth")


def test_of_two_models_in_a_file_the_trained_one_is_taken_and_the_other_named(tmp_path, small_models):
    torch.save({"ema": small_sam(seed=1).state_dict(), "model": behind("")}, tmp_path / "both.pth")
    assert read_weights(tmp_path / "both.pth").note == "the weights are those of model; ema left aside"
    require_small_sam(tmp_path / "both.pth")


def test_plain_weights_need_no_note(weights):
    assert read_weights(weights).note == ""


def test_code_in_a_container_is_refused(tmp_path, small_models):
    torch.save({"model": behind(""), "args": Sam}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors, and running it is refused"):
        read_weights(tmp_path / "w.pth")


def test_a_container_that_holds_itself_ends(tmp_path, small_models):
    endless = {"epoch": 3}
    endless["model"] = endless["net"] = endless["ema"] = endless
    torch.save(endless, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="it holds no tensors"):
        read_weights(tmp_path / "w.pth")


def without(state):
    del state["image_encoder.pos_embed"]
    del state["mask_decoder.iou_token.weight"]


def with_more(state):
    state["ema.decay"] = torch.ones(1)


def misshapen(state):
    state["prompt_encoder.no_mask_embed.weight"] = torch.ones(1, 7)


def of_integers(state):
    state["image_encoder.pos_embed"] = state["image_encoder.pos_embed"].long()


def wider(state):
    state["image_encoder.patch_embed.proj.weight"] = torch.ones(40, 3, 16, 16)


def of_another_attribute(state):
    for name in list(state):
        state[f"my_sam.{name}"] = state.pop(name)


def of_something_else(state):
    state.clear()
    state |= {"conv.weight": torch.ones(3), "conv.bias": torch.ones(3)}


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (without, "looks like vit_b, but lacks image_encoder.pos_embed, mask_decoder.iou_token.weight"),
        (with_more, "has unknown ema.decay"),
        (misshapen, r"misshapen prompt_encoder.no_mask_embed.weight \(1, 7\) instead of \(1, 32\)"),
        (of_integers, "has integers in image_encoder.pos_embed"),
        (wider, "no SAM known here .an image encoder of width 40 and 2 blocks"),
        (of_another_attribute, "no model known here .it holds my_sam.image_encoder.blocks"),
        (of_something_else, "no model known here .it holds conv.bias, conv.weight"),
    ],
)
def test_spoilt_weights_are_refused_in_one_line(tmp_path, small_models, spoil, cause):
    path = tmp_path / "weights.pth"
    state = small_sam().state_dict()
    spoil(state)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=cause) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # cause; remedy


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}])
def test_other_peoples_models_are_called_by_name(tmp_path, small_models, wrap):
    state = behind("") | {"mask_decoder.hf_token.weight": torch.ones(1, 32)}
    torch.save(wrap(state), tmp_path / "sam_hq_vit_b.pth")
    with pytest.raises(CheckpointError, match="holds SAM-HQ, which is not run here; give weights of"):
        read_weights(tmp_path / "sam_hq_vit_b.pth")


def test_one_of_several_files_is_called_one(tmp_path, small_models):
    name = "model-00002-of-00003.safetensors"
    safetensors.torch.save_file({"prompt_encoder.no_mask_embed.weight": torch.ones(1, 32)}, tmp_path / name)
    with pytest.raises(CheckpointError, match="is one of several files that hold the weights together; put"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    bad = {"good": torch.ones(3), "empty": torch.ones(0), "bad.bias": torch.tensor([1.0, value, 2.0])}
    with pytest.raises(CheckpointError, match=r"bad\.bias holds NaN or infinity"):
        require_finite(bad, tmp_path / "w.pth")

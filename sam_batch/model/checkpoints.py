"""Weights by name, path or URL; what they are, that they are whole, and the `Sam` they make.

The driver resolves the configured checkpoint once, before any worker starts; each worker loads what was resolved.
Which model it is, the tensors say: a name that contradicts them is refused. Nothing here chooses a device or a
precision.
"""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.config import ModelConfig
from sam_batch.errors import CheckpointError
from sam_batch.model.fetch import fetch, is_url
from sam_batch.model.names import DEMO_PATH, DEMO_SHA256, FAKE, PUBLISHED, ResolvedCheckpoint
from sam_batch.model.sam.demo import build_demo
from sam_batch.model.sam.huggingface import is_huggingface, to_segment_anything
from sam_batch.model.state import read_state, require_finite, sha256_of

_BUILDERS = {**{name: sam_model_registry[name] for name in PUBLISHED}, "demo": build_demo}


def load_sam(name_or_path: str | Path, sha256: str | None = None) -> Sam:
    """A model by its name, or from a file or URL.

    Args:
        name_or_path: demo, vit_b, vit_l, vit_h, a path (.pth, .safetensors), or a URL.
        sha256: Refuse the file unless it has this hash, hexadecimal.

    Returns:
        segment-anything's own `Sam`: float32, on the CPU, in eval mode.

    Raises:
        CheckpointError: The weights are missing, damaged, unsafe or of no model known here.
    """
    source = str(name_or_path)
    if source in _BUILDERS:
        return load_resolved(resolve_checkpoint(ModelConfig(name=source, sha256=sha256)))
    return load_resolved(resolve_checkpoint(ModelConfig(name="auto", checkpoint=source, sha256=sha256)))


def resolve_checkpoint(model: ModelConfig, engine_kind: str = "auto") -> ResolvedCheckpoint:
    """Find the configured weights, fetch them if need be, and check them as far as loading would.

    Args:
        model: The job's section.
        engine_kind: The fake engine needs no weights.

    Raises:
        CheckpointError: As `load_sam`, and where `model.name` is not what the weights are.
    """
    if engine_kind == "fake":
        return FAKE
    path, url, expected = _locate(model)
    digest = _require_sha256(path, expected)
    name, _ = _read_model(path)
    if model.name not in ("auto", name):
        raise CheckpointError(
            f"{path}: model.name is {model.name}, but these weights are {name}; "
            f"set model.name={name} or give other weights"
        )
    return ResolvedCheckpoint(name, str(path), digest, _skeleton(name).image_encoder.img_size, url)


def load_resolved(checkpoint: ResolvedCheckpoint) -> Sam:
    """The model of a resolved checkpoint, fetched once more on machines that lack the driver's file.

    Returns:
        As `load_sam`.

    Raises:
        CheckpointError: As `load_sam`; also where the file is no longer what was resolved.
    """
    path = _on_this_machine(checkpoint)
    _require_sha256(path, checkpoint.sha256)
    name, state = _read_model(path)
    sam = _skeleton(name)
    sam.load_state_dict({key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}, assign=True)
    return sam.eval()


def _locate(model: ModelConfig) -> tuple[Path, str | None, str | None]:
    """Path, URL if it has one, and the sha256 to expect if one is known."""
    if model.checkpoint == "auto" and model.name == "demo":
        return DEMO_PATH, None, model.sha256 or DEMO_SHA256
    source = PUBLISHED[model.name].url if model.checkpoint == "auto" else model.checkpoint
    expected = model.sha256 or _published_sha256(source)
    if is_url(source):
        return fetch(source, expected), source, expected
    return Path(source).expanduser(), None, expected


def _on_this_machine(checkpoint: ResolvedCheckpoint) -> Path:
    path = Path(checkpoint.path)
    if path.exists():
        return path
    if checkpoint.sha256 == DEMO_SHA256:
        return DEMO_PATH  # the package may be installed elsewhere here
    return path if checkpoint.url is None else fetch(checkpoint.url, checkpoint.sha256)


def _published_sha256(source: str) -> str | None:
    """What a file with the name of a published one must hash to."""
    hashes = {one.url.rpartition("/")[2]: one.sha256 for one in PUBLISHED.values()}
    return hashes.get(source.rpartition("/")[2])


def _require_sha256(path: Path, expected: str | None) -> str:
    digest = sha256_of(path)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{path}: is damaged or another file: its sha256 is {digest}, expected {expected}; "
            "download it again, or give the file's own hash as model.sha256"
        )
    return digest


def _read_model(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The model's name and its tensors, under segment-anything's names, all checked."""
    state = read_state(path)
    if is_huggingface(state):
        state = to_segment_anything(state)
    name = _recognise(state, path)
    _require_same_tensors(state, _skeleton(name).state_dict(), f"{path}: looks like {name}, but")
    require_finite(state, path)
    return name, state


def _recognise(state: Mapping[str, Tensor], path: Path) -> str:
    found = _signature(state)
    for name in _BUILDERS:
        if found == _known_signature(name):
            return name
    raise CheckpointError(
        f"{path}: is no SAM known here ({_describe(found)}); use {', '.join(_BUILDERS)} or a checkpoint of theirs"
    )


def _signature(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width and depth of the image encoder; they tell the models apart."""
    patch = state.get("image_encoder.patch_embed.proj.weight")
    blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
    return (0 if patch is None or patch.ndim == 0 else patch.shape[0]), len(blocks)


def _describe(signature: tuple[int, int]) -> str:
    width, depth = signature
    return f"an image encoder of width {width} and {depth} blocks" if width and depth else "it has no image encoder"


@cache
def _known_signature(name: str) -> tuple[int, int]:
    return _signature(_skeleton(name).state_dict())


def _skeleton(name: str) -> Sam:
    """The model without memory for its weights: initialising 600 million numbers to replace them takes seconds."""
    with torch.device("meta"):
        return _BUILDERS[name]()


def _require_same_tensors(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> None:
    missing = wanted.keys() - given.keys()
    extra = given.keys() - wanted.keys()
    misshapen = {
        f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    }
    faults = [
        f"{verb} {_some(names)}"
        for verb, names in (("lacks", missing), ("has unknown", extra), ("has misshapen", misshapen))
        if names
    ]
    if faults:
        raise CheckpointError(f"{prefix} {'; '.join(faults)}; use the checkpoint as it was published or trained")


def _some(names: Collection[str]) -> str:
    """The first three, and how many more."""
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"

"""ONNX exports, each made once in a run of the tests, whoever asks for it: tracing a model takes half a minute."""

import gc
import hashlib
import shutil
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from sam_batch.engine.onnx.export import export
from sam_batch.engine.onnx.graph_set import MANIFEST, PROMPTED, GraphSet, graph_files, read_graphs, write_manifest
from support.graphs import MAX_TOKENS


class ExportOnce:
    """Takes the place of `engine.onnx.export.export`: what was exported before is copied.

    One process has all tests that export (`SHARE_EXPORTS` in tests/conftest.py), so nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *arguments: Any, **named: Any) -> GraphSet:
        given = signature(export).bind(*arguments, **named)
        given.apply_defaults()
        options = given.arguments
        module, folder = options.pop("module"), options.pop("folder")
        options["family"] = options["family"].name
        said = {name: options.pop(name) for name in ("model", "checkpoint_sha256")}
        without_prompted = options["max_tokens"] is None  # a set with it holds the others as they are without
        options["max_tokens"] = named["max_tokens"] = options["max_tokens"] or MAX_TOKENS
        kept = self._folder / _digest(module, options)
        if not (kept / MANIFEST).exists():  # which is written last
            gc.disable()  # an eighth of the time is spent on looking through what tracing holds anyway
            try:
                export(*arguments, **named | {"folder": kept})
            finally:
                gc.enable()
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        graphs = replace(read_graphs(folder), **said)
        if without_prompted:
            for path in graph_files(folder, PROMPTED):
                path.unlink()
            parts = {part: {**getattr(graphs, part)} for part in ("inputs", "sha256", "scratch_bytes")}
            for part in parts.values():
                part.pop(PROMPTED)
            graphs = replace(graphs, **parts)
        write_manifest(graphs, folder)
        return graphs


def _digest(module: nn.Module, options: dict[str, Any]) -> str:
    """Of the weights and of what they are exported with."""
    digest = hashlib.sha256(repr(sorted(options.items())).encode())
    for name, weight in module.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def export_once(tmp_path_factory: pytest.TempPathFactory) -> ExportOnce:
    """Each folder of tests that imports this fixture has one of its own; all of them share the exports."""
    return ExportOnce(tmp_path_factory.getbasetemp() / "exports")

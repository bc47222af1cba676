"""What many images cost the driver: listing, planning, reading the plan again, the shards, the parts at the end.

The input is a folder of hard links to a few small pictures, made once and kept; nothing of them is decoded. The steps
are those of a run, from the listing to the stream of shards that workers are given, in one process, which imports torch
and Ray where a driver does. With `--parts`, parts of a finished job are written for all images, and its status, another
run and the end of a job are measured. Each line is a step's time, its CPU time and the most memory that the process had
used by then; at the end one JSON line.

    python benchmarks/scale.py --images 1000000 --folder /tmp/scale
"""

import argparse
import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from benchmarks.harness.memory import peak_bytes
from sam_batch.config import Config
from sam_batch.data.entries import gathered
from sam_batch.data.listing import Listing
from sam_batch.data.selection import LeftOut
from sam_batch.data.storage import Entry, Storage, open_storage
from sam_batch.export.formats import open_exports
from sam_batch.job.changed import decide, difference_of
from sam_batch.job.images import Images, list_images
from sam_batch.job.outage import controls
from sam_batch.job.pack import pack
from sam_batch.job.run import run_job
from sam_batch.job.status import Watch, status
from sam_batch.job.steps import kept_config
from sam_batch.output import layout, schema
from sam_batch.output.fingerprint import digest
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, read_plan, store
from sam_batch.output.summary import Summary

FOLDER_FILES = 1000
SHARDS_PER_ACTOR = 4096  # in one stream of Ray's, which takes them all at its beginning
LINKS = 50_000  # of one file; ext4 allows 65,000


def make_input(folder: Path, images: int) -> None:
    """Hard links, a thousand a folder; what is there stays."""
    if folder.exists():
        return
    encoded = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
    folder.mkdir(parents=True)
    for number in range(images):
        if number % FOLDER_FILES == 0:
            inner = folder / f"d{number // FOLDER_FILES:05d}"
            inner.mkdir()
        link = f"{inner}/image_{number:08d}.jpg"
        if number % LINKS == 0:
            first = link
            Path(link).write_bytes(encoded)
        else:
            os.link(first, link)


def imagine(folder: Path, images: int) -> Listing:
    """The same images, listed in the disorder of a file system, and of other times; there are no files."""
    draw = random.Random(0)

    def entries() -> Iterator[Entry]:
        firsts = range(0, images, FOLDER_FILES)
        for first in draw.sample(firsts, len(firsts)):
            numbers = range(first, min(first + FOLDER_FILES, images))
            for number in draw.sample(numbers, len(numbers)):
                key = f"d{first // FOLDER_FILES:05d}/image_{number:08d}.jpg"
                yield Entry(key, f"{folder}/{key}", 2000, str(draw.getrandbits(60)))

    return Listing(gathered(entries()), LeftOut())


def write_parts(output: Output, plan: Plan, masks: int) -> None:
    """Commit all shards, with equal masks."""
    from benchmarks.report import template  # here, like all that imports torch

    rows, metadata = template(masks, ""), {"sam_batch.fingerprint": digest(plan.fingerprint)}
    counts = {"ok": 0, "empty": 0, "failed": 0, "masks": 0}
    for planned in plan.shards(range(plan.shard_count)):
        part, shard = rows.slice(0, planned.num_rows), planned["shard"][0].as_py()
        for name in ("image_id", "key", "uri"):
            part = part.set_column(part.schema.get_field_index(name), name, planned[name])
        output.storage.write(
            layout.part_key(layout.ANNOTATIONS, shard), schema.part_bytes(part.replace_schema_metadata(metadata))
        )
        metrics = counts | {"ok": part.num_rows, "masks": part.num_rows * masks}
        output.storage.write(layout.metrics_key(shard), json.dumps(metrics).encode())


class Steps:
    """Times steps in the order in which they are made."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        """Make a step and print what it took; returns what it returns."""
        started, cpu = time.perf_counter(), time.process_time()
        value = step()
        line = {
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_megabytes": round(peak_bytes() / 1e6),
        }
        self.lines[name] = line
        times = f"{line['seconds']:8.1f} s {line['cpu_seconds']:8.1f} CPU s"
        print(f"{name:24s} {times} {line['peak_megabytes']:7.0f} MB", flush=True)
        return value


def fingerprint_of(config: Config) -> dict[str, str]:
    """What the results of a job are made with."""
    from sam_batch.engine import factory
    from sam_batch.job.spec import JobSpec

    return JobSpec(config, factory.resolve_weights(config), factory.resolve(config.engine, False)).fingerprint()


def start_of_run(config: Config, step: Steps, list_input: Callable[[], Listing]) -> Plan:
    """What a driver does before the first shard is with a worker, but for devices, weights and Ray."""
    listed = step("list", list_input)
    images, storage = Images(listed), open_storage(config.output.uri, config.storage)
    step("import torch and Ray", lambda: list(map(import_module, ("torch", "ray.data"))))
    settings = step("settle the engine", lambda: fingerprint_of(config))
    plan = read_plan(storage)
    decision = step("plan and check names", lambda: decide(Output(storage), plan, images, config, settings))
    plan = step("store", lambda: store(storage, plan, decision.rows, settings))
    step("controls", lambda: controls(plan, storage))
    step("all shards, streamed", lambda: deque(plan.shards(plan.pending(set())), maxlen=0))
    step("pack those of an actor", lambda: list(map(pack, plan.shards(range(SHARDS_PER_ACTOR)))))
    again = step("read the plan", lambda: read_plan(storage))
    step("compare with it", lambda: difference_of(again, listed, config))
    return plan


def end_of_run(config: Config, plan: Plan, step: Steps) -> None:
    """What is seen of a job whose shards are all committed, what its driver does then, and what another one does."""
    output, watch = Output(open_storage(config.output.uri, config.storage)), Watch(config)
    summary = Summary(output.storage.root, 1.0, planned=len(plan))

    def finish() -> None:
        with open_exports(["coco"], output.storage, config.output, plan) as exports:
            for part in output.parts(plan, output.done()):
                summary.count(part)
                exports.add(part)
            exports.finish()
        summary.counted = output.mark(plan)
        output.storage.replace(layout.SUMMARY, summary.to_json().encode())
        output.storage.replace(layout.CONFIG, kept_config(config))

    step("status with a price", lambda: watch.look(price=1.0))
    step("the same once more", lambda: watch.look(price=1.0))
    step("count and export COCO", finish)
    step("status", lambda: status(config))
    step("run again", lambda: run_job(config, Console(quiet=True)))


def slow_down(seconds: float) -> None:
    """Let each request for a file take so much longer, as those to an object store do."""

    def slowed(verb: Callable[..., Any]) -> Callable[..., Any]:
        def request(*arguments: Any, **named: Any) -> Any:
            time.sleep(seconds)
            return verb(*arguments, **named)

        return request

    for name in ("read", "stat", "exists", "write", "replace", "create", "find"):
        setattr(Storage, name, slowed(getattr(Storage, name)))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="for links and output; is kept")
    parser.add_argument("--parts", action="store_true", help="also the end of the job")
    parser.add_argument("--masks", type=int, default=1, help="of each image, with --parts")
    parser.add_argument("--request-seconds", type=float, default=0.0, help="that each takes longer, after the parts")
    parser.add_argument("--imagined", action="store_true", help="make no links: names of files that are not there")
    arguments = parser.parse_args(argv)
    if arguments.imagined and arguments.parts:
        parser.error("--parts lists the input again, which must be there")
    photos, out = arguments.folder / f"input-{arguments.images}", arguments.folder / f"output-{time.time_ns()}"
    if not arguments.imagined:
        make_input(photos, arguments.images)
    config = Config.model_validate(
        {"input": {"uri": str(photos)}, "output": {"uri": str(out)}, "engine": {"kind": "fake"}}
    )
    step = Steps()
    list_input = partial(imagine, photos, arguments.images) if arguments.imagined else partial(list_images, config)
    plan = start_of_run(config, step, list_input)
    if arguments.parts:
        output = Output(open_storage(config.output.uri, config.storage))
        step("write parts", lambda: write_parts(output, plan, arguments.masks))
        if arguments.request_seconds:
            slow_down(arguments.request_seconds)
        end_of_run(config, plan, step)
    from benchmarks.harness.environment import environment

    print(json.dumps({"environment": environment(None), "images": arguments.images, "steps": step.lines}))


if __name__ == "__main__":
    main()

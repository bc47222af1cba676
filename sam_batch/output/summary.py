"""One object owns a run's counts, its text, its JSON and its exit code."""

import json
import platform
import shlex
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch import __version__
from sam_batch.data.storage import shown
from sam_batch.errors import ExitCode
from sam_batch.output.parts import Receipt
from sam_batch.records import Stage, Status
from sam_batch.wording import counted

NAMED = 5  # failed images in the text
PACKAGES = ("ray", "torch", "torchvision", "segment-anything", "numpy", "pillow", "opencv-python-headless", "pyarrow")


@dataclass(slots=True)
class Summary:
    """How a job stands.

    Attributes:
        output: Where the results are.
        max_failure_rate: More failed images than this share make the job a failure.
        listed: What the input gave to this run, and what it holds beside.
        planned: Images in the plan.
        done: Images with a committed row.
        status: Images by how they ended: over all runs once the parts were read, before that in this run.
        failures: Failed images by kind, over all runs.
        first_failed: The first of them, each with its reason.
        masks: As status.
        pixel_notes: Images by what decoding lost (`records.PixelNote`), over all runs.
        planned_prompts: Prompts of the planned images.
        prompts: Prompts by how they ended, as status.
        prompt_failures: Failed prompts by kind, over all runs.
        worked: Images this run committed.
        stage_seconds: Worker time of this run by stage.
        used: Model, engine, precision, device and executor of this run; empty where there was nothing to do.
        notes: What was warned of, here or by workers, each once.
        counted: `Output.mark` of the parts that were read for these counts; empty where they were not all read.
        postprocessing: How masks were made in this run: each way that a worker took, and why.
        interrupted: The user stopped the run.
        error: Why the job could not end; empty if it did.
        page: Where the report is; empty if none was written.
        others: What workers that share the job have still to do, in words; then all else is of this one's share.
    """

    output: str
    max_failure_rate: float
    listed: dict[str, Any] = field(default_factory=dict)
    planned: int = 0
    done: int = 0
    status: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    first_failed: list[str] = field(default_factory=list)
    masks: int = 0
    pixel_notes: Counter[str] = field(default_factory=Counter)
    planned_prompts: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    prompt_failures: Counter[str] = field(default_factory=Counter)
    worked: int = 0
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(map(str, Stage), 0.0))
    used: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counted: str = ""
    postprocessing: list[str] = field(default_factory=list)
    interrupted: bool = False
    error: str = ""
    page: str = ""
    others: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def failure_rate(self) -> float:
        """Share of the images that have a row, or of their prompts, whichever is larger."""
        images = self.status[Status.FAILED] / self.done if self.done else 0.0
        return max(images, self.prompts[Status.FAILED] / (self.prompts.total() or 1))

    @property
    def exit_code(self) -> ExitCode:
        """What the process ends with."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.error or self.done != self.planned or self.prompts.total() != self.planned_prompts:
            return ExitCode.FAILED
        return ExitCode.TOO_MANY_FAILURES if self.failure_rate > self.max_failure_rate else ExitCode.OK

    def add(self, receipt: Receipt) -> None:
        """Count a shard that this run committed."""
        self.worked += receipt.images
        self.masks += receipt.masks
        self.status.update({Status.OK: receipt.ok, Status.EMPTY: receipt.empty, Status.FAILED: receipt.failed})
        self.stage_seconds[Stage.LOAD] += receipt.load_seconds
        self.stage_seconds[Stage.SEGMENT] += receipt.segment_seconds
        self.stage_seconds[Stage.WRITE] += receipt.write_seconds

    def recount(self) -> None:
        """Forget what was counted, before all parts are counted anew."""
        self.done, self.masks, self.counted = 0, 0, ""
        self.first_failed.clear()
        for counter in (self.status, self.failures, self.pixel_notes, self.prompts, self.prompt_failures):
            counter.clear()

    def count(self, part: pa.Table) -> None:
        """Count committed rows."""
        self.status.update(part["status"].to_pylist())
        failed = part.filter(pc.is_valid(part["error"])).select(["key", "error"])
        for row in failed.to_pylist():
            self.failures[row["error"]["kind"]] += 1
            if len(self.first_failed) < NAMED:
                self.first_failed.append(f"{shown(row['key'])}: {row['error']['message']}")
        self.pixel_notes.update(pc.list_flatten(part["notes"]).to_pylist())
        self.masks += pc.sum(pc.list_value_length(part["masks"])).as_py() or 0
        prompts = pc.list_flatten(part["prompts"])
        self.prompts.update(pc.struct_field(prompts, "status").to_pylist())
        kinds = pc.struct_field(prompts, ["failure", "kind"]).drop_null()
        self.prompt_failures.update(kinds.to_pylist())
        self.done = self.status.total()

    def restore(self, told: Mapping[str, Any]) -> None:
        """Take the counts that another run wrote into `summary.json` for those of all parts."""
        images, prompts = told["images"], told["prompts"]
        self.done, self.masks = images["done"], told["masks"]
        self.first_failed[:] = told["first_failed"]
        # Without zeros, as `count` leaves them.
        self.status = +Counter[str]({status: images[status] for status in Status})
        self.prompts = +Counter[str]({status: prompts[status] for status in Status})
        self.failures, self.pixel_notes = Counter(told["failures"]), Counter(told["pixel_notes"])
        self.prompt_failures = Counter(prompts["failures"])

    def to_json(self) -> str:
        """`summary.json`."""
        seconds = time.monotonic() - self.started
        summary: dict[str, Any] = {
            "exit_code": self.exit_code,
            "interrupted": self.interrupted,
            "error": self.error or None,
            "input": self.listed,
            "images": {"planned": self.planned, "done": self.done, **{one: self.status[one] for one in Status}},
            "masks": self.masks,
            "prompts": {
                "planned": self.planned_prompts,
                **{one: self.prompts[one] for one in Status},
                "failures": dict(sorted(self.prompt_failures.items())),
            },
            "failures": dict(sorted(self.failures.items())),
            "first_failed": self.first_failed,
            "counted": self.counted,
            "pixel_notes": dict(sorted(self.pixel_notes.items())),
            "run": {
                **self.used,
                "images": self.worked,
                "seconds": round(seconds, 3),
                "images_per_second": round(self.worked / seconds, 3),
                "stage_seconds": {stage: round(value, 3) for stage, value in self.stage_seconds.items()},
            },
            "notes": self.notes,
            "postprocessing": self.postprocessing,
            "versions": versions(),
        }
        return json.dumps(summary, indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """A few lines for a person."""
        where = "" if self.status.total() == self.done else "in this run "
        lines = [
            f"{self.done} of {counted(self.planned, 'image')} done: {where}{self.status[Status.OK]} with "
            f"{counted(self.masks, 'mask')}, "
            f"{self.status[Status.EMPTY]} without, {self.status[Status.FAILED]} failed"
        ]
        lines += [f"  failed, {kind}: {count}" for kind, count in self.failures.most_common()]
        lines += [f"    {failed}" for failed in self.first_failed]
        if self.failures.total() > len(self.first_failed) > 0:
            lines.append(f"    all of them: sam-batch status {shlex.quote(shown(self.output))} --failed")
        lines += [f"  pixels, {note}: {count}" for note, count in self.pixel_notes.most_common()]
        if self.prompts:
            ended = f"{self.prompts[Status.OK]} with a mask, {self.prompts[Status.EMPTY]} without, "
            lines.append(f"{counted(self.planned_prompts, 'prompt')}: {ended}{self.prompts[Status.FAILED]} failed")
        lines += [f"  failed, {kind}: {count}" for kind, count in self.prompt_failures.most_common()]
        if self.worked:
            seconds = time.monotonic() - self.started
            rate = self.worked / seconds
            lines.append(f"this run: {counted(self.worked, 'image')} in {seconds:.1f} s, {rate:.2f} images/s")
        if self.interrupted:
            lines.append("interrupted; the same command goes on where this one stopped")
        if self.exit_code == ExitCode.TOO_MANY_FAILURES:
            lines.append(f"more images or prompts failed than run.max_failure_rate = {self.max_failure_rate:g} allows")
        lines += [self.others] if self.others else []
        lines += [f"report in {self.page}"] if self.page else []
        return "\n".join([*lines, f"results in {self.output}"])


def versions() -> dict[str, str]:
    """What the results were made with."""
    found = {"sam-batch": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found

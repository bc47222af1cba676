"""Which thresholds find most of the truth with the fewest masks: tried on stored candidates, without a model.

What a setting finds is what a run with it finds, since masks are chosen by its very steps. It changes no output, and
tries no setting that shapes what the network is asked, such as the grid of points.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import yaml

from sam_batch.config import GeneratorConfig, StorageConfig
from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError
from sam_batch.evaluate.labelled import Labelled, Pairing, StoredImages, of_annotations, open_truth
from sam_batch.evaluate.recall import SIZES, Recall
from sam_batch.output import schema
from sam_batch.output.fingerprint import generator_of, value_of
from sam_batch.output.output import Output
from sam_batch.records import ImageResult
from sam_batch.segment.everything import find_again, to_annotations
from sam_batch.segment.stored import from_stored
from sam_batch.wording import counted

Sweep = Mapping[str, Sequence[float]]

SWEPT: Final[Sweep] = {
    "pred_iou_thresh": (0.5, 0.7, 0.8, 0.86, 0.9, 0.94),
    "stability_score_thresh": (0.5, 0.7, 0.85, 0.92, 0.96),
    "max_masks_per_image": (),
}
"""What is tried of each setting where nothing else is asked for, beside the job's own value."""

_THRESHOLDS: Final = ("pred_iou_thresh", "stability_score_thresh")  # candidates below the job's own are not stored
_MOST: Final = 1000  # masks an image that count


@dataclass(slots=True)
class Trial:
    """One setting and what it comes to.

    Attributes:
        settings: Of `generator`, those that are swept.
        masks: In all images.
        recall: Average recall of the true objects, over IoUs 0.5 to 0.95, at 1000 masks an image.
    """

    settings: dict[str, Any]
    masks: int = 0
    recall: float = 0.0
    counts: Recall = field(default_factory=lambda: Recall((_MOST,), {"all": SIZES["all"]}), repr=False)


@dataclass(frozen=True, slots=True)
class Tuning:
    """All settings that were tried.

    Attributes:
        output: Whose candidates.
        truth: Where the true objects are.
        images: In both.
        left_out: Images of the output without truth, or without candidates: those that failed or carry prompts.
        keep: The share of the best recall that `chosen` must have.
        trials: In the order of the sweep.
    """

    output: str
    truth: str
    images: int
    left_out: int
    keep: float
    trials: Sequence[Trial]

    @property
    def chosen(self) -> Trial:
        """Of the settings with so much of the best recall the one with the fewest masks."""
        least = self.keep * max(trial.recall for trial in self.trials)
        enough = [trial for trial in self.trials if trial.recall >= least]
        return min(enough, key=lambda trial: (trial.masks, -trial.recall))

    @property
    def front(self) -> list[Trial]:
        """The settings that no other beats, most masks first: what finds more has more masks, too."""
        best, front = -1.0, list[Trial]()
        for trial in sorted(self.trials, key=lambda trial: (trial.masks, -trial.recall)):
            if trial.recall > best:
                best = trial.recall
                front.append(trial)
        return front[::-1]

    def masks_per_image(self, trial: Trial) -> float:
        """Of the images in both."""
        return trial.masks / self.images

    def to_yaml(self) -> str:
        """The lines of a job's configuration that set what is chosen."""
        return yaml.safe_dump({"generator": self.chosen.settings}, sort_keys=False).rstrip()

    def to_command(self) -> str:
        """The filter that leaves of this output what is chosen."""
        settings = self.chosen.settings.items()
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings if value is not None)
        return f"sam-batch filter {shlex.quote(self.output)} DEST {options}"

    def to_json(self) -> str:
        """All trials, and the chosen one."""
        told = [self._told(trial) for trial in self.trials]
        about = {"output": self.output, "truth": self.truth, "images": self.images, "left_out": self.left_out}
        return json.dumps(about | {"trials": told, "chosen": self._told(self.chosen)}, indent=2, allow_nan=False)

    def _told(self, trial: Trial) -> dict[str, Any]:
        return {**trial.settings, "masks_per_image": self.masks_per_image(trial), "recall": trial.recall}

    def to_text(self) -> str:
        """For a person."""
        names = list(self.trials[0].settings)
        head = f"{'masks an image':>14}  {'recall':>6}  " + "  ".join(names)
        rows = [
            f"{self.masks_per_image(trial):>14.1f}  {trial.recall:>6.3f}  "
            + "  ".join(f"{_value(trial.settings[name]):>{len(name)}}" for name in names)
            + ("  <- chosen" if trial is self.chosen else "")
            for trial in self.front
        ]
        out = f" ({counted(self.left_out, 'image')} without truth or candidates left out)" if self.left_out else ""
        return "\n".join(
            [
                f"{counted(self.images, 'image')}{out}, {counted(len(self.trials), 'setting')}; those that no other "
                "beats:",
                head,
                *rows,
                f"the fewest masks with {self.keep:.0%} of the best recall:",
                self.to_yaml(),
                f"here: {self.to_command()}",
            ]
        )


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:g}"


def tune_output(
    output: Output, truth: str, config: StorageConfig, sweep: Sweep, *, keep: float = 0.95, limit: int | None = None
) -> Tuning:
    """Try settings on the stored candidates of an output.

    Args:
        output: Finished or not: what has a row counts.
        truth: URI of a COCO file (.json) or an output.
        config: How object stores are reached.
        sweep: Values to try, by settings of `SWEPT`; of one that is missing or has none, those of `SWEPT`.
        keep: See `Tuning`.
        limit: Only so many images that are in both.

    Raises:
        ConfigError: The output has no candidates, or none of what is asked for; the truth is no COCO file, or has no
            image of the output.
        OutputError: There is no job.
        StorageError: A file cannot be read.
    """
    stored = StoredImages(output)
    place = shown(output.storage.root)
    _require_candidates(stored.plan.fingerprint, place)
    generator, pairing = generator_of(stored.plan.fingerprint), Pairing(open_truth(truth, config))
    trials = [Trial(settings) for settings in _settings(generator, sweep)]
    left_out = images = 0
    for row in stored.rows(schema.CANDIDATE_SCHEMA):
        there = pairing.find(row.ref.key) if row.candidates is not None else None
        if there is None or there.size_hw != (row.height, row.width):
            left_out += 1
            continue
        images += 1
        _try(trials, row, there, generator)
        if images == limit:
            break
    if not images:
        raise ConfigError(f"{shown(truth)}: has no image of {place} by the name of its file")
    for trial in trials:
        recall = trial.counts.average()["all"][_MOST]
        if recall is None:
            raise ConfigError(f"{shown(truth)}: has no object in the images of {place}")
        trial.recall = recall
    return Tuning(place, shown(truth), images, left_out, keep, trials)


def _require_candidates(fingerprint: Mapping[str, str], place: str) -> None:
    if not value_of(fingerprint, "output.candidates"):
        raise ConfigError(
            f"{place}: keeps no candidates to try thresholds on; a run into another output does: sam-batch run "
            f"{shlex.quote(f'{place}/config.yaml')} output.uri=NEW output.candidates=true "
            "generator.pred_iou_thresh=0.5 generator.stability_score_thresh=0.5"
        )


def _settings(generator: GeneratorConfig, sweep: Sweep) -> list[dict[str, Any]]:
    """All combinations, each of the generator's own values among them unless others are asked for."""
    values = dict[str, list[Any]]()
    for name, usual in SWEPT.items():
        asked, own = sweep.get(name) or (), getattr(generator, name)
        least = own if name in _THRESHOLDS else 0
        below = [value for value in asked if value < least]
        if below:
            raise ConfigError(f"{name}: the output was made with {own:g}, and masks below that are not in it")
        values[name] = sorted(set(asked)) or [own, *(value for value in usual if value > least)]
    swept = {name: tried for name, tried in values.items() if len(tried) > 1 or sweep.get(name)}
    return [dict(zip(swept, one, strict=True)) for one in product(*swept.values())]


def _try(trials: Sequence[Trial], row: ImageResult, truth: Labelled, generator: GeneratorConfig) -> None:
    candidates = from_stored(row.candidates or (), truth.size_hw)
    for trial in trials:
        settings = GeneratorConfig.model_validate(generator.model_dump() | trial.settings)
        annotations = to_annotations(find_again(candidates, settings), truth.size_hw, settings)
        trial.masks += len(annotations)
        trial.counts.add(of_annotations(annotations), truth.masks, truth.size_hw)

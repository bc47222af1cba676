"""What every worker needs to know about the job, and what of it goes into the fingerprint.

Values only: nothing here reads a file or starts a worker.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sam_batch import __version__
from sam_batch.config import Config
from sam_batch.data.storage import locate
from sam_batch.engine.choice import EngineChoice, TensorRTChoice
from sam_batch.model.checkpoints import ResolvedCheckpoint
from sam_batch.output.fingerprint import FILTER, PLACE, digest, refuse_other, shaping_defaults
from sam_batch.section import flatten


class Pictured(Protocol):
    """What of a job reading images and drawing take: a `JobSpec`, or a drawing without model and engine."""

    @property
    def config(self) -> Config:
        """See `JobSpec`."""
        ...

    @property
    def adopted(self) -> Mapping[str, str]:
        """See `JobSpec`."""
        ...

    @property
    def controls(self) -> tuple[str, ...]:
        """See `JobSpec`."""
        ...


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its workers see it; picklable.

    Attributes:
        config: The checked configuration.
        checkpoint: The weights, already on this machine.
        engine: Which engine to build, on which device, in which precision.
        adopted: The fingerprint that the output was planned with; empty before there is a plan.
        controls: Images that tell a loader whether a store answers; see `job.outage`.
    """

    config: Config
    checkpoint: ResolvedCheckpoint
    engine: EngineChoice
    adopted: Mapping[str, str] = field(default_factory=dict)
    controls: tuple[str, ...] = ()

    def fingerprint(self) -> dict[str, str]:
        """Everything that shapes a result, as dotted keys and JSON values."""
        return known_settings(self.config) | {
            "model.sha256": json.dumps(self.checkpoint.sha256),
            "engine.kind": json.dumps(self.engine.kind),
            "engine.precision": json.dumps(self.engine.precision),
        }

    def used(self) -> dict[str, str]:
        """What the settings came to on this machine, for `summary.json`."""
        verified = {"verified": self.engine.verified} if isinstance(self.engine, TensorRTChoice) else {}
        return verified | {
            "model": self.checkpoint.name,
            "sha256": self.checkpoint.sha256,
            "engine": self.engine.kind,
            "precision": self.engine.precision,
            "device": self.engine.device,
            "executor": self.config.run.executor,
        }

    def to_text(self) -> str:
        """The same in a line for a person."""
        place = "in this process" if self.config.run.executor == "inline" else "on Ray"
        return (
            f"model {self.checkpoint.name} ({self.checkpoint.sha256[:8]}), {self.engine.kind} engine in "
            f"{self.engine.precision} on {self.engine.device}, {place}"
        )

    def metadata(self) -> dict[str, str]:
        """What a part's Parquet metadata says of its origin: no times and no host names."""
        return {
            "sam_batch.version": __version__,
            "sam_batch.model": self.checkpoint.name,
            "sam_batch.checkpoint_sha256": self.checkpoint.sha256,
            "sam_batch.engine": self.engine.kind,
            "sam_batch.precision": self.engine.precision,
            "sam_batch.fingerprint": digest(self.adopted or self.fingerprint()),
        }


def refuse_changed_settings(stored: Mapping[str, str], config: Config, sha256: str | None = None) -> None:
    """Refuse an output of other settings as far as is known before devices, and perhaps weights, are looked at.

    Args:
        stored: The output's fingerprint.
        config: The job.
        sha256: Of its weights, if that is known.

    Raises:
        FingerprintError: Some keys differ.
    """
    now = known_settings(config) | _decided(config)
    if sha256 is not None:
        now["model.sha256"] = json.dumps(sha256)
    told = [*now, "prompts.uri", FILTER]  # also where the job has none, and the output has
    refuse_other({key: value for key, value in stored.items() if key in told}, now)


def _decided(config: Config) -> dict[str, str]:
    """Of the engine what is no longer open; the fake one takes any precision for its own."""
    engine = config.engine
    settings = {"engine.kind": engine.kind, "engine.precision": "auto" if engine.kind == "fake" else engine.precision}
    return {key: json.dumps(value) for key, value in settings.items() if value != "auto"}


def input_roots(config: Config) -> list[str]:
    """The input's URIs, one spelling for one place."""
    return [locate(uri, config.storage).uri for uri in config.input.uris]


def roots_of(config: Config, known: Sequence[str]) -> list[str]:
    """The input's URIs, in the order of an output that knows the first of several; else as `input_roots`.

    The first is the one that a job began with: where that is gone, it moved to the place of the first.
    """
    return sorted(input_roots(config), key=lambda root: root not in known[:1])


def known_settings(config: Config) -> dict[str, str]:
    """The part of a fingerprint that is known without weights and devices."""
    settings = flatten(config.model_dump(mode="json"))
    resolved = {PLACE: json.dumps(input_roots(config))}
    if config.prompts.uri is not None:  # the prompts themselves are in the plan
        resolved["prompts.uri"] = json.dumps("given")
    return {key: json.dumps(settings[key]) for key in shaping_defaults()} | resolved

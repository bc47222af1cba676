"""What every worker needs to know about the job, and the fingerprint that keeps unlike results apart.

Values only: nothing here reads a file or starts a worker.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sam_batch import __version__
from sam_batch.config import Config, Effect, flatten, keys
from sam_batch.data.storage import locate
from sam_batch.engine.choice import EngineChoice
from sam_batch.errors import FingerprintError
from sam_batch.model.names import ResolvedCheckpoint


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its workers see it; picklable.

    Attributes:
        config: The checked configuration.
        checkpoint: The weights, already on this machine.
        engine: Which engine to build, on which device, in which precision.
        adopted: The fingerprint that the output was planned with; empty before there is a plan.
    """

    config: Config
    checkpoint: ResolvedCheckpoint
    engine: EngineChoice
    adopted: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, str]:
        """Everything that shapes a result, as dotted keys and JSON values."""
        settings = flatten(self.config.model_dump(mode="json"))
        shaping = {key: json.dumps(settings[key]) for key, _ in shaping_keys()}
        roots = [locate(uri, self.config.storage).uri for uri in self.config.input.uris]
        return shaping | {
            "input.uri": json.dumps(roots),
            "model.sha256": json.dumps(self.checkpoint.sha256),
            "engine.kind": json.dumps(self.engine.kind),
            "engine.precision": json.dumps(self.engine.precision),
        }

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


def shaping_keys() -> Iterator[tuple[str, str]]:
    """The keys whose values shape a result, each with its default as JSON."""
    for key, setting in keys():
        if Effect.SHAPES in setting.metadata:
            yield key, json.dumps(setting.get_default(call_default_factory=True))


def digest(fingerprint: Mapping[str, str]) -> str:
    """The fingerprint as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()


def refuse_other(stored: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuse to mix results of unlike settings.

    A key that one of the two does not know counts as its default: an output stays usable when keys are added.

    Raises:
        FingerprintError: Some keys differ; the message lists each with both values.
    """
    defaults = dict(shaping_keys())
    there, now = {**defaults, **stored}, {**defaults, **current}
    differing = [key for key in sorted(there.keys() | now.keys()) if there.get(key) != now.get(key)]
    if differing:
        lines = [f"  {key}: there {there.get(key, 'unset')}, now {now.get(key, 'unset')}" for key in differing]
        raise FingerprintError(
            "output.uri: the output holds results of other settings; use another output, the same settings, "
            "or --overwrite\n" + "\n".join(lines)
        )

"""What every worker needs to know about the job, and the fingerprint that keeps unlike results apart.

Values only: nothing here reads a file or starts a worker.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sam_batch import __version__
from sam_batch.config import Config
from sam_batch.configfile import flatten
from sam_batch.data.storage import locate
from sam_batch.engine.choice import EngineChoice
from sam_batch.errors import FingerprintError
from sam_batch.model.names import ResolvedCheckpoint

# Settings that shape a result. What only moves work around (batch sizes, executor, log) may differ between runs,
# and what only changes which images are listed (limit, extensions) extends the plan.
SHAPING_SECTIONS = ("generator", "output")
SHAPING_KEYS = ("input.max_pixels", "input.max_bytes")
NEUTRAL_KEYS = ("generator.points_per_batch", "output.uri", "output.coco")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its workers see it; picklable.

    Attributes:
        config: The checked configuration.
        checkpoint: The weights, already on this machine.
        engine: Which engine to build, on which device, in which precision.
    """

    config: Config
    checkpoint: ResolvedCheckpoint
    engine: EngineChoice

    def fingerprint(self) -> dict[str, str]:
        """Everything that shapes a result, as dotted keys and JSON values."""
        settings = flatten(self.config.model_dump(mode="json"))
        shaping = {key: json.dumps(value) for key, value in settings.items() if _shapes_results(key)}
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
            "sam_batch.fingerprint": digest(self.fingerprint()),
        }


def digest(fingerprint: Mapping[str, str]) -> str:
    """The fingerprint as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()


def refuse_other(stored: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuse to mix results of unlike settings.

    Raises:
        FingerprintError: Some keys differ; the message lists each with both values.
    """
    differing = [key for key in sorted(stored.keys() | current.keys()) if stored.get(key) != current.get(key)]
    if differing:
        lines = [f"  {key}: there {stored.get(key, 'unset')}, now {current.get(key, 'unset')}" for key in differing]
        raise FingerprintError(
            "output.uri: the output holds results of other settings; use another output, the same settings, "
            "or --overwrite\n" + "\n".join(lines)
        )


def _shapes_results(key: str) -> bool:
    if any(key == neutral or key.startswith(f"{neutral}.") for neutral in NEUTRAL_KEYS):
        return False
    return key in SHAPING_KEYS or key.partition(".")[0] in SHAPING_SECTIONS

"""What shaped the results of an output, as dotted keys and JSON values; it keeps unlike results apart.

A key that a fingerprint does not hold counts as its default: an output stays usable when keys are added. Which values
a job has, `sam_batch.job.spec` says.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from sam_batch.config import Config, GeneratorConfig, InputConfig
from sam_batch.errors import FingerprintError
from sam_batch.section import Effect, Section, keys

FILTER: Final = "filter"  # what rows were filtered from and by, step by step; no setting, and in no run's fingerprint


def shaping_defaults() -> dict[str, str]:
    """The keys whose values shape a result, each with its default as JSON."""
    shaping = {key: setting for key, setting in keys(Config) if Effect.SHAPES in setting.metadata}
    return {key: json.dumps(setting.get_default(call_default_factory=True)) for key, setting in shaping.items()}


def value_of(fingerprint: Mapping[str, str], key: str) -> Any:
    """What a shaping key was set to."""
    return json.loads((shaping_defaults() | dict(fingerprint))[key])


def decoding_of(fingerprint: Mapping[str, str]) -> InputConfig:
    """The settings that images were decoded with."""
    return InputConfig.model_validate({"uri": "unknown"} | _given(fingerprint, "input", InputConfig))


def generator_of(fingerprint: Mapping[str, str]) -> GeneratorConfig:
    """The settings that masks were found with."""
    return GeneratorConfig.model_validate(_given(fingerprint, "generator", GeneratorConfig))


def _given(fingerprint: Mapping[str, str], section: str, kind: type[Section]) -> dict[str, Any]:
    return {
        name: json.loads(fingerprint[f"{section}.{name}"])
        for name in kind.model_fields
        if f"{section}.{name}" in fingerprint
    }


def digest(fingerprint: Mapping[str, str]) -> str:
    """The fingerprint as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()


PICTURES: Final = ("color_masks", "label_masks", "segments")  # sections of output: made of rows and images alone


def switched_on(stored: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """The settings of pictures that are off there and on now: they can be drawn without segmenting again."""
    there, now = shaping_defaults() | dict(stored), shaping_defaults() | dict(current)
    enabled = {f"output.{name}.": f"output.{name}.enabled" for name in PICTURES}
    prefixes = tuple(prefix for prefix, key in enabled.items() if (there[key], now[key]) == ("false", "true"))
    return {key: value for key, value in now.items() if key.startswith(prefixes)}


def only(pictures: Mapping[str, str]) -> dict[str, str]:
    """These settings of pictures, and no other pictures."""
    return {f"output.{name}.enabled": "false" for name in PICTURES} | dict(pictures)


PLACE = "input.uri"  # kept, but another place is no other meaning: whether its images are others, the job looks


def refuse_other(stored: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuse to mix results of unlike settings; where the input lies is none, nor are pictures that were off.

    Raises:
        FingerprintError: Some keys differ; the message lists each with both values.
    """
    there, now = shaping_defaults() | dict(stored), shaping_defaults() | dict(current)
    may_differ = {PLACE, *switched_on(stored, current)}
    differing = [key for key in sorted((there.keys() | now.keys()) - may_differ) if there.get(key) != now.get(key)]
    if differing:
        lines = [f"  {key}: there {there.get(key, 'unset')}, now {now.get(key, 'unset')}" for key in differing]
        raise FingerprintError(
            "output.uri: the output holds results of other settings; use another output, the same settings, "
            "or --overwrite\n" + "\n".join(lines)
        )

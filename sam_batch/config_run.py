"""The section `run` of the configuration: who does the work, and when it is given up."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from sam_batch.section import Neutral, Section, UnitInterval


class RunConfig(Section):
    """How the work is spread; nothing here changes a result; shard_size counts for new shards alone."""

    executor: Neutral[Literal["ray", "inline"]] = Field("ray", description="inline is a plain loop in this process.")
    shard_size: Neutral[Annotated[StrictInt, Field(ge=1, le=4096)] | Literal["auto"]] = Field(
        "auto",
        description="Images a shard, the unit of work, commit and resume; auto is 32, fewer in small jobs and inline.",
    )
    actors: Neutral[StrictInt | Literal["auto"]] = Field(
        "auto", description="Engines; auto is one a GPU, or one on the CPU."
    )
    max_actors: Neutral[StrictInt | None] = Field(
        None, ge=1, description="Engines at most, on a cluster that grows: actors are the least; null is no more."
    )
    max_failure_rate: Neutral[UnitInterval] = Field(
        0.05, description="More failed images than this end in exit code 3."
    )
    abort_failure_rate: Neutral[UnitInterval] = Field(
        0.5, description="More failed ones among the last 1000 images end a run on its way; max_failure_rate if larger."
    )
    image_timeout_seconds: Neutral[StrictInt] = Field(
        900,
        ge=1,
        description="A decoder that takes so long for an image is ended; so is a worker in which no image ends for so "
        "long, times the image's views.",
    )
    grace_seconds: Neutral[float] = Field(
        2.0,
        ge=0,
        le=3600,
        description="What ends so long after SIGTERM is still committed; a stop by Ray leaves 3 s, by Kubernetes 30.",
    )
    retry_failed: Neutral[bool] = Field(False, description="Work again on images that failed in earlier runs.")
    stall_timeout_seconds: Neutral[StrictInt] = Field(
        7200,
        ge=10,
        description="Give up when no shard moves or no GPU comes free for so long; a shard on a CPU can take an hour.",
    )
    verbose: Neutral[bool] = Field(False, description="Show Ray's own log and progress bars, and tracebacks.")
    log: Neutral[Literal["text", "json"]] = Field(
        "text", description="Standard error: text for a person, or JSON lines, also one for each image and its shard."
    )
    webhook: Neutral[str | None] = Field(
        None,
        pattern="^(https?://[^/]+|env:[^=]+$)",
        description="URL that is sent the summary at the end, as JSON; or env:NAME for a variable with the URL in it. "
        "An URL is not kept in the output's config.yaml; a variable's name is.",
    )

    @field_validator("actors")
    @classmethod
    def _at_least_one(cls, actors: int | str) -> int | str:
        if isinstance(actors, int) and actors < 1:
            raise ValueError("should be at least 1, or auto")
        return actors

    @model_validator(mode="after")
    def _least_before_most(self) -> Self:
        if self.max_actors is not None and self.actors != "auto" and self.actors > self.max_actors:
            raise ValueError(f"max_actors is {self.max_actors}, fewer than actors, {self.actors}")
        return self

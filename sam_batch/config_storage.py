"""The section `storage` of the configuration: how object stores are reached."""

from pydantic import Field, StrictInt

from sam_batch.section import Neutral, Section


class StorageConfig(Section):
    """How object stores are reached. Credentials come from the environment alone."""

    endpoint_url: Neutral[str | None] = Field(None, description="S3-compatible endpoint, e.g. http://minio:9000.")
    region: Neutral[str | None] = Field(None, description="Region of the bucket.")
    anonymous: Neutral[bool] = Field(False, description="Send unsigned requests (public buckets).")
    attempts: Neutral[StrictInt] = Field(
        8, ge=1, le=20, description="Tries of one read or write before it counts as failed."
    )
    outage_seconds: Neutral[StrictInt] = Field(
        600, ge=0, description="How long a job waits for an input store that does not answer, before it ends."
    )

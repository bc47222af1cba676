"""What a job works on: the images of its input, and the prompts that some of them carry."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import Config
from sam_batch.data import listing
from sam_batch.data.entries import Entries
from sam_batch.errors import ConfigError, NotFoundError
from sam_batch.job.spec import input_roots, roots_of
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan
from sam_batch.prompts.arrow import GIVEN
from sam_batch.prompts.collect import GivenPrompts
from sam_batch.prompts.items import Category
from sam_batch.prompts.read import read_prompts
from sam_batch.wording import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a job.

    Attributes:
        listed: Those to work on.
        prompts: Of all that the input holds; None where the job has none, or goes on by what its plan holds of them.
        fails_without: Images without prompts fail.
    """

    listed: listing.Listing
    prompts: GivenPrompts | None = None
    fails_without: bool = False

    @property
    def categories(self) -> tuple[Category, ...]:
        """What the objects of the prompts can be."""
        return self.prompts.categories if self.prompts else ()

    def prompts_of(self, keys: Sequence[str] | pa.ChunkedArray) -> pa.StructArray | None:
        """The prompts of some of them for a plan; an empty list where an image has none and is to fail for it."""
        if self.prompts is None:
            return None
        values = self.prompts.of(keys)
        if not self.fails_without:
            return values
        nothing = pa.scalar({"normalised": False, "objects": []}, GIVEN)
        return pc.if_else(pc.is_valid(values), values, nothing)

    def prompts_text(self) -> str:
        """One line for a person."""
        prompts = self.prompts or ()
        carrying = counted(len(self.prompts.keys) if self.prompts else 0, "image")
        return f"prompts: {counted(len(prompts), 'object')} in {carrying}"


def list_images(
    config: Config, *, anew: bool = False, progress: Callable[[int], None] = lambda found: None
) -> listing.Listing:
    """List the input; all of it where there are prompts, since `input.limit` is for images that carry some.

    Args:
        config: The job.
        anew: What the output holds does not count.
        progress: Told from time to time how many images were found.

    Raises:
        InputError: It cannot be listed.
        OutputError: A file has the name of a part of the output's plan, and is none of it.
    """
    settings = config.input if config.prompts.uri is None else config.input.model_copy(update={"limit": None})
    began_with = None if anew or len(settings.uris) == 1 else _began_with(config)
    return listing.list_images(settings, config.storage, config.output.uri, began_with, progress)


def _began_with(config: Config) -> str | None:
    """The one of several inputs that the output's job began with alone: its images keep their keys beside others."""
    plan = Output.at(config.output.uri, config.storage).plan()
    if plan is None or not plan.began_with_one_root:
        return None
    return config.input.uris[input_roots(config).index(roots_of(config, plan.roots)[0])]


def with_prompts(config: Config, listed: listing.Listing, plan: Plan | None) -> Images:
    """Read the prompts, and put them to the images.

    A plan holds the prompts of its images: where their source is gone, the job goes on with these images.

    Args:
        config: The job.
        listed: What `list_images` returned.
        plan: Of the output, if it has one.

    Raises:
        ConfigError: The prompts cannot be read, or not be put to the images.
    """
    if config.prompts.uri is None:
        return Images(listed)
    try:
        prompts = read_prompts(config, listed.images, plan.categories if plan else ())
    except NotFoundError as error:
        if plan is None:
            raise ConfigError(f"prompts.uri: {error}") from error
        return Images(_only_planned(listed, plan, error))
    for note in prompts.notes:
        _log.warning("%s", note)
    images = listed.images
    if config.prompts.without == "skip":
        carrying = set(prompts.keys.to_pylist())
        images = Entries.of(entry for entry in images if entry.key in carrying)
        if skipped := len(listed.images) - len(images):
            _log.warning("prompts.without=skip: %s without prompts left out", counted(skipped, "image"))
    taken = images[: config.input.limit]
    listed.left_out.beyond_limit = len(images) - len(taken)
    return Images(replace(listed, images=taken), prompts, config.prompts.without == "fail")


def _only_planned(listed: listing.Listing, plan: Plan, error: NotFoundError) -> listing.Listing:
    planned = set(plan.rows.texts("key"))
    images = Entries.of(entry for entry in listed.images if entry.key in planned)
    waiting = len(listed.images) - len(images)
    _log.warning("prompts.uri: %s; the plan holds the prompts of its images, %d others wait for it", error, waiting)
    return replace(listed, images=images)

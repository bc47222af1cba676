"""The verbs that look at what a job left, and need neither a model nor an image."""

import json
from typing import Annotated, Any, Literal

import typer

from sam_batch import configfile
from sam_batch.cli import terminal
from sam_batch.cli.arguments import (
    Json,
    OutputOrArguments,
    area_option,
    number_option,
    read_job_of,
    read_output,
    share_option,
    split,
)
from sam_batch.cli.terminal import answer
from sam_batch.errors import ConfigError
from sam_batch.wording import counted

outputs_app = typer.Typer()

Finished = Annotated[str, typer.Argument(metavar="OUTPUT", help="Of a finished job; stays as it is.")]
Destination = Annotated[str, typer.Argument(metavar="DEST", help="An empty or new folder or prefix.")]
StorageSettings = Annotated[
    list[str] | None, typer.Argument(metavar="SETTINGS", help="Such as storage.endpoint_url=...")
]
_OF_PICTURES = ("output.color_masks.", "output.segments.", "output.label_masks.")


@outputs_app.command()
def status(
    arguments: OutputOrArguments,
    failed: Annotated[bool, typer.Option("--failed", help="Only a CSV of the failed images, with reasons.")] = False,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of an hour of an engine: what it cost so far, and what is to come.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how far a job has come."""
    from sam_batch.job.status import failed_images
    from sam_batch.job.status import status as job_status

    if failed:
        for lines in failed_images(read_output(arguments)):
            typer.echo(lines, nl=False)
        return
    found = job_status(read_output(arguments) if price is None else read_job_of(arguments), price)
    answer(found.to_json() if as_json else found.to_text())


@outputs_app.command()
def report(arguments: OutputOrArguments, as_json: Json = False) -> None:
    """Write OUTPUT/report.html: pictures, masks, charts and failures on one page."""
    from sam_batch.report.make import make_report

    config = read_output(arguments)
    page = make_report(config.output.uri, config.storage)
    answer(json.dumps({"report": page}) if as_json else f"report in {page}")


@outputs_app.command()
def export(
    arguments: OutputOrArguments,
    to: Annotated[list[str], typer.Option(metavar="FORMAT", help="Of output.exports; more than once for several.")],
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also of what is done so far.")] = False,
    as_json: Json = False,
) -> None:
    """Write the annotations of a finished output in other formats, with the settings of output.FORMAT."""
    from sam_batch.export.formats import export_output
    from sam_batch.output.output import Output

    config = read_output(arguments)
    output = Output.at(config.output.uri, config.storage)
    files = [f"{output.storage.root}/{key}" for key in export_output(output, to, config.output, unfinished=unfinished)]
    answer(json.dumps({"files": files}) if as_json else "\n".join(files))


@outputs_app.command()
def merge(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCES", help="COCO files, or outputs that hold some; also storage.KEY=VALUE."),
    ],
    to: Annotated[str, typer.Option(metavar="FILE", help="The new COCO file, which is not there yet.")],
    prefer: Annotated[
        Literal["first", "last"] | None,
        typer.Option(help="Whose image it is that several sources have."),
    ] = None,
    renumber: Annotated[
        bool, typer.Option("--renumber", help="Give other numbers to sources whose own others have too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make one COCO file of several: of split files, or of several outputs. Numbers stay as they are."""
    from sam_batch.export.merged import merge_coco

    places, settings = split(sources)
    unneeded = {"input": {"uri": "not looked at"}, "output": {"uri": "not looked at"}}
    config = configfile.load([], settings, defaults=unneeded)
    images, annotations = merge_coco(places, to, config.storage, prefer=prefer, renumber=renumber)
    told = f"{counted(images, 'image')} and {counted(annotations, 'annotation')} in {to}"
    answer(json.dumps({"file": to, "images": images, "annotations": annotations}) if as_json else told)


@outputs_app.command("filter")
def filter_(
    output: Finished,
    destination: Destination,
    settings: StorageSettings = None,
    pred_iou_thresh: Annotated[float | None, share_option("Drop masks with a lower predicted IoU.")] = None,
    stability_score_thresh: Annotated[float | None, share_option("Drop masks with a lower stability.")] = None,
    box_nms_thresh: Annotated[
        float | None, share_option("generator.box_nms_thresh; this and the next two need output.candidates.")
    ] = None,
    crop_nms_thresh: Annotated[float | None, share_option("generator.crop_nms_thresh.")] = None,
    min_mask_region_area: Annotated[int | None, number_option("generator.min_mask_region_area.")] = None,
    min_mask_area: Annotated[Any, area_option("Drop masks with fewer pixels: 400, or 0.1% of the image's.")] = None,
    max_mask_area: Annotated[Any, area_option("Drop masks with more pixels, likewise.")] = None,
    max_mask_region_area: Annotated[
        int | None, number_option("Older name of --max-mask-area, for pixels only.")
    ] = None,
    mask_nms_thresh: Annotated[float | None, share_option("Of two masks with a higher IoU drop the worse.")] = None,
    containment_thresh: Annotated[
        float | None, share_option("Drop a mask, this share of which lies in a better one.")
    ] = None,
    max_masks_per_image: Annotated[int | None, number_option("Keep only the best so many.")] = None,
    one_owner: Annotated[
        bool, typer.Option("--one-owner", help="Give each pixel to the smallest mask over it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write another output with fewer masks, from the rows alone: no model, no images."""
    from sam_batch.job.filtered import filter_output
    from sam_batch.output.output import Output
    from sam_batch.segment.thinning import Thinning

    given: dict[str, Any] = {
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "box_nms_thresh": box_nms_thresh,
        "crop_nms_thresh": crop_nms_thresh,
        "min_mask_region_area": min_mask_region_area,
        "min_mask_area": min_mask_area,
        "max_mask_area": max_mask_area,
        "max_mask_region_area": max_mask_region_area,
        "mask_nms_thresh": mask_nms_thresh,
        "containment_thresh": containment_thresh,
        "max_masks_per_image": max_masks_per_image,
        "one_owner": one_owner,
    }
    thinning = Thinning(**{name: value for name, value in given.items() if value is not None})
    config = read_output([output, *(settings or ())])
    with terminal.quiet(verbose=False):
        summary = filter_output(Output.at(config.output.uri, config.storage), destination, thinning)
    answer(summary.to_json() if as_json else summary.to_text())


@outputs_app.command()
def draw(
    output: Finished,
    destination: Destination,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="SETTINGS", help="Such as output.color_masks.outlines=true")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw an output's pictures anew into another folder, with other settings: no model; rows stay as they are."""
    from sam_batch.job.drawn import draw_output
    from sam_batch.output.output import Output

    _refuse_others(settings or [])
    config = read_job_of([output, *(settings or ())])
    with terminal.quiet(verbose=False) as console:
        drawn = draw_output(Output.at(config.output.uri, config.storage), destination, config, console)
    about = {"images": drawn, "pictures": destination}
    answer(json.dumps(about) if as_json else f"pictures of {counted(drawn, 'image')} in {destination}")


def _refuse_others(settings: list[str]) -> None:
    """Refuse what would change no picture."""
    files, overrides = split(settings)
    others = files + [text for text in overrides if not text.startswith((*_OF_PICTURES, "storage."))]
    if others:
        takes = ", ".join(f"{name}*" for name in _OF_PICTURES)
        raise ConfigError(f"{others[0]}: says nothing of pictures; draw takes {takes} and storage.*")


@outputs_app.command()
def compare(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Of a job, finished or not.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another output, or the truth: a COCO file (.json).")],
    settings: StorageSettings = None,
    as_json: Json = False,
) -> None:
    """Say how the masks of two outputs differ, or what an output finds of a COCO file: counts, IoU, recall."""
    from sam_batch.evaluate.compare import compare_outputs
    from sam_batch.output.output import Output

    config = read_output([output, *(settings or ())])
    compared = compare_outputs(Output.at(config.output.uri, config.storage), other, config.storage)
    answer(compared.to_json() if as_json else compared.to_text())


@outputs_app.command()
def tune(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Of a job with output.candidates, finished or not.")],
    truth: Annotated[str, typer.Option(metavar="COCO", help="The true objects: a COCO file (.json), or an output.")],
    settings: StorageSettings = None,
    pred_iou_thresh: Annotated[list[float] | None, share_option("Try this one; may be given again.")] = None,
    stability_score_thresh: Annotated[list[float] | None, share_option("Likewise.")] = None,
    max_masks_per_image: Annotated[list[int] | None, number_option("Likewise.")] = None,
    keep: Annotated[float, share_option("Of the best recall, what the thresholds to use must have.")] = 0.95,
    limit: Annotated[int | None, number_option("Only so many images.")] = None,
    plot: Annotated[str | None, typer.Option(metavar="PATH", help="Of a new .svg: recall by masks an image.")] = None,
    as_json: Json = False,
) -> None:
    """Say which thresholds find most of the truth with the fewest masks: no model, no images."""
    from sam_batch.cli.places import require_free, write_new
    from sam_batch.evaluate.chart import to_svg
    from sam_batch.evaluate.tune import tune_output
    from sam_batch.output.output import Output

    place = None if plot is None else require_free("--plot", plot, (".svg",))
    config = read_output([output, *(settings or ())])
    sweep = {
        "pred_iou_thresh": pred_iou_thresh or (),
        "stability_score_thresh": stability_score_thresh or (),
        "max_masks_per_image": max_masks_per_image or (),
    }
    with terminal.quiet(verbose=False):
        source = Output.at(config.output.uri, config.storage)
        tuning = tune_output(source, truth, config.storage, sweep, keep=keep, limit=limit)
    if place is not None:
        write_new("--plot", place, to_svg(tuning))
    answer(tuning.to_json() if as_json else tuning.to_text())

import json


def test_a_finished_output_is_reported_exported_filtered_drawn_and_compared_by_its_place(job, call):
    assert call("run", job)[0] == 0
    cost = json.loads(call("status", job.parent / "out", "--price", "2", "--json")[1])["cost"]
    assert cost["price"] == 2 * cost["hours"] > 0
    told = f"so far: {cost['hours']:.2f} hours of engines at work, price {cost['price']:.2f}; to come"
    assert told in call("status", job.parent / "out", "--price", "2")[1]
    code, said, _ = call("report", job.parent / "out")
    assert (code, said.strip()) == (0, f"report in {job.parent}/out/report.html")
    assert json.loads(call("report", job.parent / "out", "--json")[1]) == {"report": f"{job.parent}/out/report.html"}
    assert json.loads(call("export", job.parent / "out", "--to", "coco", "--json")[1]) == {
        "files": [f"{job.parent}/out/coco/annotations.json"]
    }
    code, said, _ = call("export", job.parent / "out", "--to", "coco", "output.coco.segmentation=polygons")
    assert (code, said.strip()) == (0, f"{job.parent}/out/coco/annotations.json")
    assert '"segmentation":[[' in (job.parent / "out/coco/annotations.json").read_text()
    code, said, _ = call("merge", job.parent / "out", "storage.attempts=1", "--to", job.parent / "all.json", "--json")
    assert (code, json.loads(said)["file"]) == (0, f"{job.parent}/all.json")
    code, _, told = call("merge", job.parent / "all.json", job.parent / "all.json", "--to", job.parent / "more.json")
    assert (code, "--prefer first or last" in told) == (2, True)
    code, said, _ = call("filter", job.parent / "out", job.parent / "best", "--max-masks-per-image", "1", "--json")
    assert (code, json.loads(said)["masks"]) == (0, 5)
    code, _, told = call("filter", job.parent / "out", job.parent / "none")
    assert (code, "nothing to filter by" in told) == (2, True)
    outlined = ("output.color_masks.outlines=true", "output.segments.enabled=false")
    code, said, _ = call("draw", job.parent / "best", job.parent / "drawn", *outlined)
    assert (code, said.strip()) == (0, f"pictures of 5 images in {job.parent}/drawn")
    code, _, told = call("draw", job.parent / "out", job.parent / "other", "generator.points_per_side=4")
    assert (code, "says nothing of pictures; draw takes output.color_masks." in told) == (2, True)
    code, said, _ = call("compare", job.parent / "best", job.parent / "out")
    assert (code, said.startswith("5 images in both: 5 masks in ")) == (0, True)
    assert json.loads(call("compare", job.parent / "out", job.parent / "best", "--json")[1])["more"]["first"] == 5


def test_thresholds_are_tuned_and_plotted(job, call):
    assert call("run", job, "output.candidates=true", "--limit", 2, "output.report=false")[0] == 0
    out, plot = job.parent / "out", job.parent / "chart.svg"
    swept = ["--pred-iou-thresh", 0.9, "--pred-iou-thresh", 0.99, "--stability-score-thresh", 0.95]
    code, said, _ = call("tune", out, "--truth", out, *swept, "--plot", plot)
    assert (code, said.splitlines()[-2]) == (0, "  stability_score_thresh: 0.95")
    assert said.endswith(f"filter {out} DEST --pred-iou-thresh 0.9 --stability-score-thresh 0.95\n")
    assert plot.read_bytes().startswith(b"<svg")
    assert call("tune", out, "--truth", out, "--plot", plot)[0] == 2

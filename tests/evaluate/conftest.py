import pytest
from support.jobs import draw_photographs, job_config, run


@pytest.fixture(scope="session")
def jobs(tmp_path_factory):
    """Outputs of the same photographs: `low` keeps candidates, `high` has other thresholds and one image less."""
    root = tmp_path_factory.mktemp("jobs")
    draw_photographs(root / "photos", 5)
    (root / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff")
    low = {"pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
    run(job_config(root / "photos", root / "low", generator=low, output={"candidates": True, "report": False}))
    high = {"pred_iou_thresh": 0.9, "stability_score_thresh": 0.1}
    limited = {"limit": 4, "exclude": "broken.jpg"}
    run(job_config(root / "photos", root / "high", generator=high, input=limited, output={"report": False}))
    return root

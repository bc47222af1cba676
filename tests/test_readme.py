"""What the README shows is run."""

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]


def test_the_python_example_labels_prompts_and_draws(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert len(names["found"]) > 1
    assert names["better"].areas[0] > 1000
    with Image.open("coffee.png") as drawn:
        assert drawn.size == (600, 400)

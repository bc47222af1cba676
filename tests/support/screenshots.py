"""The pictures of docs/app.md, taken anew: `make screenshots`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.browser import served, started, watched

ROOT = Path(__file__).parents[2]
EXAMPLES, IMAGES = ROOT / "examples", ROOT / "docs" / "images"
PATIENCE = 300_000  # milliseconds


def main() -> None:
    """Visit each tab as a person does, and keep what is on the screen."""
    with (
        started() as browser,
        served("run.executor=inline") as address,
        TemporaryDirectory() as folder,
        watched(browser, (address, address.replace("http", "ws"), "data:", "blob:")) as page,
    ):
        page.goto(address)
        _automatic(page)
        _guided(page)
        _batch(page, f"{folder}/results")


def _automatic(page: Any) -> None:
    panel = _tab(page, "Automatic")
    _name_photograph(panel)
    panel.get_by_role("button", name="Find everything").click()
    panel.locator("img[src^='data:image/png']").first.wait_for(timeout=PATIENCE)
    _keep(page, "automatic")


def _guided(page: Any) -> None:
    panel = _tab(page, "Guided")
    _name_photograph(panel)
    box = panel.locator("img[src^='data:']").first.bounding_box()
    panel.get_by_role("radio", name="Box", exact=True).click()
    page.mouse.move(box["x"] + 0.28 * box["width"], box["y"] + 0.03 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.69 * box["width"], box["y"] + 0.77 * box["height"], steps=3)
    page.mouse.up()
    panel.get_by_text("score ").nth(2).wait_for(timeout=PATIENCE)
    page.mouse.move(0, 0)
    _keep(page, "guided")


def _batch(page: Any, output: str) -> None:
    panel = _tab(page, "Batch")
    panel.get_by_label("Folder, glob").fill("examples")
    panel.get_by_label("Suffixes").fill("jpg")
    panel.get_by_label("Destination").fill(output)
    panel.get_by_role("button", name="Start").click()
    panel.get_by_text("Page 1 of 1").wait_for(timeout=PATIENCE)
    _keep(page, "batch")


def _tab(page: Any, name: str) -> Any:
    page.get_by_role("tab", name=name).click()
    return page.locator(".q-tab-panel").filter(visible=True)


def _name_photograph(panel: Any) -> None:
    panel.get_by_label("or its path").fill("examples/coffee.jpg")
    panel.get_by_role("button", name="Open").click()
    panel.locator("img[src^='data:']").first.wait_for()


def _keep(page: Any, name: str) -> None:
    page.wait_for_timeout(1500)  # until pictures are decoded and ripples are over
    page.screenshot(path=IMAGES / f"app_{name}.jpg", type="jpeg", quality=80)


if __name__ == "__main__":
    main()

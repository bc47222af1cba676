"""Recall against masks an image, as a drawing that stands for itself: an SVG without scripts, for light and dark."""

from typing import Final
from xml.sax.saxutils import escape

from sam_batch.evaluate.tune import Trial, Tuning

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 400, 60, 50, 30
_STYLE: Final = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2128; --dim: #66707c; --line: #d9dee4; --accent: #0b63ce;
  --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --text: #e4e8ec; --dim: #98a2ad; --line: #2e353d;
  --accent: #6cb0ff; --bad: #ff8a80 } }
svg { background: var(--back) } text { font: 12px system-ui, sans-serif; fill: var(--dim) }
line { stroke: var(--line) } circle { fill: var(--dim) } .front { fill: var(--accent) } .chosen { fill: var(--bad) }
polyline { fill: none; stroke: var(--accent) } .title { fill: var(--text); font-size: 15px }
"""


def to_svg(tuning: Tuning) -> bytes:
    """Draw all trials; point at one for its settings. UTF-8."""
    front, chosen = tuning.front, tuning.chosen
    most = max(tuning.masks_per_image(trial) for trial in tuning.trials) or 1.0

    def place(trial: Trial) -> tuple[float, float]:
        return _x(tuning.masks_per_image(trial) / most), _y(trial.recall)

    def dot(trial: Trial) -> str:
        x, y = place(trial)
        kind = "chosen" if trial is chosen else "front" if trial in front else "beaten"
        told = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
        title = f"{tuning.masks_per_image(trial):.1f} masks an image, recall {trial.recall:.3f}: {told}"
        radius = 6 if trial is chosen else 4
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{escape(title)}</title></circle>'

    line = " ".join("{:.1f},{:.1f}".format(*place(trial)) for trial in front)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="{_LEFT}" y="20">{escape(_title(tuning))}</text>',
            *_axes(most),
            f'<polyline points="{line}"/>',
            *map(dot, tuning.trials),
            "</svg>",
        ]
    ).encode(errors="backslashreplace")


def _title(tuning: Tuning) -> str:
    return f"Recall of {tuning.images} images by masks an image; chosen: {tuning.chosen.recall:.3f}"


def _axes(most: float) -> list[str]:
    across = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _EDGE}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{_y(share) + 4:.1f}" text-anchor="end">{share:g}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    along = [
        f'<text x="{_x(share):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{share * most:.3g}</text>'
        for share in (0, 0.5, 1)
    ]
    return [*across, *along, f'<text x="{_x(0.5):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">masks an image</text>']


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _EDGE)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _EDGE)

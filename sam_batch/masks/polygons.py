"""Run lengths to polygons that give the mask back, pixel by pixel, in the programs that will read them.

Two raster rules are in use. pycocotools and what builds on it fill between pixel *edges*; OpenCV's `fillPoly` and what
builds on it draw through pixel *centres*. A polygon that is exact for one is a pixel too thin or too thick for the
other, so there are `edge_polygons` and `center_polygons`.

Neither knows holes: several polygons of a mask are always united. So a hole is joined to the outline by a bridge of no
width that lies inside the mask: each connected part is one closed walk with the mask on its right hand. Parts are
connected over sides and corners, holes over sides alone. Nothing is simplified.
"""

import numpy as np
from numpy.typing import NDArray

from sam_batch.compiled import compiled
from sam_batch.records import UInt8Array

Points = NDArray[np.float64]

EAST, SOUTH, WEST, NORTH = 0, 1, 2, 3  # a turn to the right adds 1
MASK, SEEN, BRIDGE = 1, 2, 4  # bits of a pixel: it is mask, its upper side was walked, a bridge ends at its left side


def edge_polygons(counts: str, height: int, width: int) -> list[Points]:
    """Walk along the outer edges of the mask's pixels.

    Args:
        counts: COCO's compressed run lengths of the (height, width) mask.
        height: Of the frame, in pixels.
        width: Likewise.

    Returns:
        One (n, 2) float64 ring of (x, y) a part, n >= 4, the first point not repeated: whole numbers from 0 to width
        and height, but for bridges, which lie at half height of a row of pixels. `pycocotools.mask.frPyObjects` makes
        the same mask of them.
    """
    return _rings(counts, height, centers=False)


def edge_outlines(counts: str, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rings of `edge_polygons` end to end, in half pixels: (n, 2) int64, and where each of them ends."""
    return _outlines(run_lengths_of(counts), height, False)


def center_polygons(counts: str, height: int, width: int) -> list[Points]:
    """Walk over the centres of the mask's outermost pixels, as `cv2.findContours` does.

    Returns:
        One (n, 2) float64 ring of (x, y) a part, n >= 1: pixels' indices, from 0 to width - 1 and height - 1.
        `cv2.fillPoly` draws the same mask of them.
    """
    del width  # for the same call as `edge_polygons`
    return _rings(counts, height, centers=True)


def _rings(counts: str, height: int, centers: bool) -> list[Points]:
    doubled_n2, ends = _outlines(run_lengths_of(counts), height, centers)
    return [ring / 2 for ring in np.split(doubled_n2, ends[:-1])] if len(ends) else []


def run_lengths_of(counts: str) -> NDArray[np.int64]:
    """Lengths of a mask's runs, column by column, background first: what COCO calls uncompressed."""
    return _run_lengths(np.frombuffer(counts.encode("ascii"), np.uint8))


@compiled
def _run_lengths(counts: UInt8Array) -> NDArray[np.int64]:
    """From COCO's string: five bits a byte, the sixth says that more follow; the fourth run on as differences."""
    lengths = np.empty(len(counts), np.int64)
    number, at = 0, 0
    while at < len(counts):
        value, shift, more = np.int64(0), 0, True
        while more:
            byte = np.int64(counts[at]) - 48
            value |= (byte & 31) << shift
            shift, more, at = shift + 5, byte & 32 != 0, at + 1
            if not more and byte & 16:
                value |= np.int64(-1) << shift
        lengths[number] = value + (lengths[number - 2] if number > 2 else 0)
        number += 1
    return lengths[:number]


@compiled
def _outlines(runs: NDArray[np.int64], height: int, centers: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All walks one after the other, in half pixels, and where each ends."""
    x0, y0, x1, y1 = _box(runs, height)
    pixels_wh = np.zeros((x1 - x0 + 2, y1 - y0 + 2), np.uint8)  # with a border of background
    tops = _fill(pixels_wh, runs, height, x0, y0)
    starts = _build_bridges(pixels_wh, tops)
    points, ends, count = np.empty((1024, 2), np.int64), np.empty(len(starts), np.int64), 0
    for ring, (x, y) in enumerate(starts):
        points, count = _walk(pixels_wh, x, y, centers, points, count)
        ends[ring] = count
    return points[:count] + 2 * np.array([x0 - 1, y0 - 1]), ends


@compiled
def _box(runs: NDArray[np.int64], height: int) -> tuple[int, int, int, int]:
    """The mask's box, x1 and y1 one past it; 1 by 1 for an empty mask."""
    x0, y0, x1, y1 = 1 << 60, height, 0, 0
    end = 0
    for run in range(1, len(runs), 2):
        start = end + int(runs[run - 1])
        end = start + int(runs[run])
        if start == end:
            continue
        first, last = start // height, (end - 1) // height
        x0, x1 = min(x0, first), max(x1, last + 1)
        if first == last:
            y0, y1 = min(y0, start % height), max(y1, (end - 1) % height + 1)
        else:
            y0, y1 = 0, height
    return (0, 0, 1, 1) if x1 == 0 else (x0, y0, x1, y1)


@compiled
def _fill(pixels_wh: UInt8Array, runs: NDArray[np.int64], height: int, x0: int, y0: int) -> NDArray[np.int64]:
    """Set the mask's pixels; return the (x, y) of those that begin a column of a run, column by column."""
    tops, count = np.empty((len(runs) // 2 + pixels_wh.shape[0], 2), np.int64), 0
    end = 0
    for run in range(1, len(runs), 2):
        start = end + runs[run - 1]
        end = start + runs[run]
        while start < end:  # a run goes on at the top of the next column
            x, y = start // height, start % height
            stop = min(end, (x + 1) * height)
            pixels_wh[x - x0 + 1, y - y0 + 1 : y - y0 + 1 + stop - start] = MASK
            tops[count] = x - x0 + 1, y - y0 + 1
            count += 1
            start = stop
    return tops[:count]


@compiled
def beside(pixels_wh: UInt8Array, x: int, y: int, heading: int) -> tuple[int, int]:
    """The pixels ahead of corner (x, y), to the left and to the right."""
    if heading == EAST:
        return pixels_wh[x, y - 1], pixels_wh[x, y]
    if heading == SOUTH:
        return pixels_wh[x, y], pixels_wh[x - 1, y]
    if heading == WEST:
        return pixels_wh[x - 1, y], pixels_wh[x - 1, y - 1]
    return pixels_wh[x - 1, y - 1], pixels_wh[x, y - 1]


@compiled
def _turn(pixels_wh: UInt8Array, x: int, y: int, heading: int) -> int:
    """The new heading at corner (x, y), with mask on the right hand; parts that touch in a corner stay together."""
    left, right = beside(pixels_wh, x, y, heading)
    if left & MASK:
        return (heading + 3) % 4
    return heading if right & MASK else (heading + 1) % 4


@compiled
def ahead(x: int, y: int, heading: int) -> tuple[int, int]:
    """The next corner."""
    if heading == EAST:
        return x + 1, y
    if heading == SOUTH:
        return x, y + 1
    return (x - 1, y) if heading == WEST else (x, y - 1)


@compiled
def _build_bridges(pixels_wh: UInt8Array, tops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Walk each outline once: mark the two ends of a bridge for each hole, and return where the others start.

    A hole's bridge leads from its leftmost side to the left, over mask, to the next background: there runs the outer
    outline, or that of a hole further left, so bridges never meet and never form a circle.
    """
    starts, count = np.empty_like(tops), 0
    for start_x, start_y in tops:
        if pixels_wh[start_x, start_y] & SEEN or pixels_wh[start_x, start_y - 1] & MASK:
            continue
        x, y, heading = start_x, start_y, EAST
        left_x, left_y, left_heading = pixels_wh.shape[0], 0, NORTH
        while True:
            if heading == EAST:
                pixels_wh[x, y] |= SEEN
            elif heading != WEST and x < left_x:
                left_x, left_y, left_heading = x, y - (heading == NORTH), heading
            x, y = ahead(x, y, heading)
            heading = _turn(pixels_wh, x, y, heading)
            if x == start_x and y == start_y and heading == EAST:
                break
        if left_heading == NORTH:  # mask lies to the right of its leftmost side: no hole
            starts[count] = start_x, start_y
            count += 1
            continue
        pixels_wh[left_x, left_y] |= BRIDGE
        while pixels_wh[left_x - 1, left_y] & MASK:
            left_x -= 1
        pixels_wh[left_x, left_y] |= BRIDGE
    return starts[:count]


@compiled
def _walk(
    pixels_wh: UInt8Array, start_x: int, start_y: int, centers: bool, points: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], int]:
    """Append one part's outline with its holes to the points; they move to a larger array where they must."""
    first = count
    x, y, heading = start_x, start_y, EAST
    while True:
        if count + 4 > len(points):
            larger = np.empty((2 * len(points), 2), np.int64)
            larger[:count] = points[:count]
            points = larger
        row = y - (heading == NORTH)
        crosses = heading in (SOUTH, NORTH) and pixels_wh[x, row] & BRIDGE != 0
        if centers or crosses:
            count = _append(points, first, count, *_on_side(x, y, heading, centers))
        if crosses:  # half-way along this side, over the bridge, and on from half-way along the side at its other end
            step = 1 if heading == NORTH else -1
            x += step
            while not pixels_wh[x, row] & BRIDGE:
                x += step
            heading, y = (SOUTH, row) if heading == NORTH else (NORTH, row + 1)
            count = _append(points, first, count, *_on_side(x, y, heading, centers))
        x, y = ahead(x, y, heading)
        before, heading = heading, _turn(pixels_wh, x, y, heading)
        if heading != before and not centers:
            count = _append(points, first, count, 2 * x, 2 * y)
        if x == start_x and y == start_y and heading == EAST:
            break
    if count > first + 1 and points[count - 1, 0] == points[first, 0] and points[count - 1, 1] == points[first, 1]:
        count -= 1
    return points, count


@compiled
def _on_side(x: int, y: int, heading: int, center: bool) -> tuple[int, int]:
    """Of the side of a pixel that lies ahead of corner (x, y), in half pixels: its pixel; or its middle, if upright."""
    if heading == EAST:
        return 2 * x, 2 * y
    if heading == WEST:
        return 2 * x - 2, 2 * y - 2
    row = y - (heading == NORTH)
    if not center:
        return 2 * x, 2 * row + 1
    return 2 * x - 2 * (heading == SOUTH), 2 * row


@compiled
def _append(points: NDArray[np.int64], first: int, count: int, x: int, y: int) -> int:
    """Add a point to the ring that begins at `first`; what stands still or goes straight on adds none."""
    if count > first and points[count - 1, 0] == x and points[count - 1, 1] == y:
        return count
    if count > first + 1:
        step_x, step_y = x - points[count - 1, 0], y - points[count - 1, 1]
        last_x, last_y = points[count - 1, 0] - points[count - 2, 0], points[count - 1, 1] - points[count - 2, 1]
        if step_x * last_y == step_y * last_x and step_x * last_x + step_y * last_y > 0:
            count -= 1
    points[count] = x, y
    return count + 1

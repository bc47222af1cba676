"""Throughput of the pipeline without a model: read, decode, fake masks, draw, write, commit, through Ray Data.

The ceiling first: the same stage functions in a plain loop on one core, times the cores. Then the job, run by the
command line as a user would, on drawn images; at the end one JSON line. It shows nothing about SAM.

    python benchmarks/pipeline.py --images 1000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image


def draw(folder: Path, count: int, size: tuple[int, int]) -> None:
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:06}.jpg", quality=90)


def job(folder: Path, executor: str, points_per_side: int, shard_size: int) -> tuple[Path, Path]:
    output = folder / executor
    path = folder / f"{executor}.yaml"
    tree = {
        "input": {"uri": str(folder / "photos")},
        "output": {"uri": str(output)},
        "model": {"name": "demo"},
        "engine": {"kind": "fake"},
        "generator": {"points_per_side": points_per_side},
        "run": {"executor": executor, "shard_size": shard_size},
    }
    path.write_text(yaml.safe_dump(tree))
    return path, output


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def run(path: Path, output: Path) -> dict[str, float | list[int]]:
    """Run one job; times from the outside, the driver's memory every half second, the commits from their files."""
    started = time.time()
    process = subprocess.Popen([sys.executable, "-m", "sam_batch", "run", str(path)])
    memory: list[int] = []

    def watch() -> None:
        while process.poll() is None:
            memory.append(resident_bytes(process.pid) >> 20)
            time.sleep(0.5)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait() != 0:
        sys.exit(f"the {output.name} job ended with {process.returncode}")
    watcher.join()
    seconds = time.time() - started
    commits = sorted(part.stat().st_mtime for part in (output / "annotations").iterdir())
    return {
        "seconds": seconds,
        "first_commit": commits[0] - started,
        "last_commit": commits[-1] - started,
        "memory_mib": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 120), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--points-per-side", type=int, default=1)
    parser.add_argument("--shard-size", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pipeline-") as name:
        folder = Path(name)
        draw(folder / "photos", arguments.images, tuple(arguments.size))
        measured = {}
        for executor in ("inline", "ray"):
            path, output = job(folder, executor, arguments.points_per_side, arguments.shard_size)
            measured[executor] = run(path, output)
            rows = [pq.read_table(part, columns=["status"]).num_rows for part in (output / "annotations").iterdir()]
            measured[executor]["rows"] = sum(rows)
            measured[executor]["summary"] = json.loads((output / "summary.json").read_text())
    report(arguments.images, arguments.shard_size, measured)


def report(images: int, shard_size: int, measured: dict[str, dict]) -> None:
    cores = os.cpu_count() or 1
    inline, ray = measured["inline"], measured["ray"]
    # From the first commit to the last: what the pipeline does once it runs.
    steady = (images - shard_size) / (ray["last_commit"] - ray["first_commit"])
    ceiling = cores * (images - shard_size) / (inline["last_commit"] - inline["first_commit"])
    memory = ray["memory_mib"]
    running = memory[len(memory) // 2 :]
    print(f"ceiling: {ceiling:.0f} images/s = plain loop x {cores} cores")
    print(
        f"Ray: {steady:.0f} images/s steady, {images / ray['seconds']:.0f} images/s with start and end "
        f"({ray['seconds']:.1f} s; plain loop {inline['seconds']:.1f} s)"
    )
    print(
        f"rows: {ray['rows']} of {images}; driver memory {max(memory)} MiB at most, "
        f"{max(running) - min(running)} MiB of growth in the second half"
    )
    print(
        json.dumps(
            {
                "benchmark": "pipeline",
                "images": images,
                "cores": cores,
                "torch": ray["summary"]["versions"]["torch"],
                "postprocessing": ray["summary"]["postprocessing"],
                "rows": ray["rows"],
                "images_per_second_steady": round(steady, 1),
                "images_per_second_whole": round(images / ray["seconds"], 1),
                "ceiling_images_per_second": round(ceiling, 1),
                "driver_memory_mib": max(memory),
                "driver_growth_mib": max(running) - min(running),
            }
        )
    )


if __name__ == "__main__":
    main()

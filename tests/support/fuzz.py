"""What strangers give this program, torn and twisted: pictures, configurations, lists of images, prompts.

Only declared errors may come out, within seconds, whatever the bytes are. Each target runs in a process of its own,
so that a crash of native code and a hang are seen; the input of the moment lies in a file, and stays there after such
an end. With atheris, coverage of the Python code leads it; without, whole seeds are mutated at random. The memory of a
process is limited; time is, for each input.

    PYTHONPATH=tests python -m support.fuzz --minutes 10
"""

import argparse
import importlib
import importlib.util
import io
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from sam_batch import configfile
from sam_batch.config import InputConfig
from sam_batch.config_prompts import PromptsConfig
from sam_batch.data import manifest
from sam_batch.data.pixels import decode
from sam_batch.errors import ConfigError, ImageError
from sam_batch.job.deadline import worker_deadline
from sam_batch.prompts.formats import FORMATS, open_reader
from support.corpus import MAX_PIXELS, corpus
from support.prompts import dataset

SECONDS = 20  # for one input
MEMORY = 4 << 30
CONFIGS = Path(__file__).parents[2] / "configs"
MANIFESTS = {
    "txt": b"a.jpg\n# no\n'b c.jpg'\ns3://bucket/d.png cat 7\n",
    "csv": b'uri;key\n"a;b.jpg";x/y.jpg\n/b.jpg;\n',
    "jsonl": b'{"uri": "a.jpg", "key": "k"}\n"b.jpg"\n',
    "json": b'["a.jpg", {"uri": "b.jpg"}]',
}


def fuzz_pixels(data: bytes) -> None:
    """Decode a picture."""
    with suppress(ImageError):
        decode(data, InputConfig(uri="in", max_pixels=MAX_PIXELS))


def fuzz_configuration(data: bytes) -> None:
    """Read a file of settings, and a few lines of it as overrides."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        for overrides in ([], data.decode(errors="replace").splitlines()[:3]):
            with suppress(ConfigError):
                configfile.load([file.name], overrides)


def fuzz_manifests(data: bytes) -> None:
    """Read a list of images as each kind, also as a compressed one."""
    for kind in ("txt", "csv", "tsv", "jsonl", "json", "parquet", "txt.gz", "csv.zst"):
        with suppress(ConfigError):
            deque(manifest.parse(f"list.{kind}", data), maxlen=0)


def fuzz_prompts(data: bytes) -> None:
    """Read a file of prompts as each format."""
    for name in FORMATS:
        for file in ("a.json", "a.txt", "data.yaml", "a.csv", "a.jsonl", "a.parquet"):
            if file.endswith(FORMATS[name].extensions):
                with suppress(ConfigError):
                    reader = open_reader(name, PromptsConfig(uri="in"))
                    deque(reader.read(file, io.BufferedReader(io.BytesIO(data))), maxlen=0)


def seeds_of(target: str) -> list[bytes]:
    """Inputs to begin with."""
    if target == "pixels":
        return [data for data, _ in corpus().values() if 0 < len(data) < 20_000]
    if target == "configuration":
        return [path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml"))]
    if target == "manifests":
        return [*MANIFESTS.values(), b"\xff\xfe" + "a.jpg\n".encode("utf-16-le")]
    table = b"image,x1,y1,x2,y2,label\na.jpg,1,2,3,4,cat\n"
    return [json.dumps(dataset()).encode(), b"0 0.5 0.5 0.2 0.2\n1 .1 .1 .2 .2 .3 .3\n", b"names: [a, b]\n", table]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pixels": fuzz_pixels,
    "configuration": fuzz_configuration,
    "manifests": fuzz_manifests,
    "prompts": fuzz_prompts,
}


def mutated(seeds: list[bytes], draw: random.Random) -> Iterator[bytes]:
    """Seeds with some bytes changed, left out, doubled, or put in from another seed; for ever."""
    while True:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((0, 1, 1, 2, 4, 16))):
            start = draw.randrange(len(data) + 1)
            stop = min(len(data), start + draw.choice((1, 1, 2, 4, 64)))
            other = draw.choice(seeds)
            begin = draw.randrange(len(other) + 1)
            data[start:stop] = draw.choice(
                (
                    draw.randbytes(stop - start),
                    b"",
                    bytes(data[start:stop]) * 2,
                    other[begin : begin + draw.choice((1, 8, 64))],
                    draw.choice(
                        (b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"-1", b"1e999", b"\n", b"nan", b"null", b"[")
                    ),
                )
            )
        yield bytes(data)


def run_target(name: str, seconds: float, seed: int, place: Path) -> None:
    """Try inputs until the time is over; print how many."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if importlib.util.find_spec("atheris") is not None:
        _lead_by_coverage(name, seconds, seed, place)
        return
    target, count, end = TARGETS[name], 0, time.monotonic() + seconds
    for data in mutated(seeds_of(name), random.Random(seed)):
        if time.monotonic() > end:
            break
        (place / "input").write_bytes(data)
        with worker_deadline(SECONDS):  # its clock stops if the target raises, too
            target(data)
        count += 1
    sys.stdout.write(f"Done {count} runs\n")  # as libFuzzer says it


def _lead_by_coverage(name: str, seconds: float, seed: int, place: Path) -> None:
    import atheris  # type: ignore[import-not-found]

    seeds = place / "seeds"
    seeds.mkdir(exist_ok=True)
    for number, data in enumerate(seeds_of(name)):
        (seeds / str(number)).write_bytes(data)
    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed + 1}", f"-timeout={SECONDS}", "-rss_limit_mb=0"]
    for module in [module for module in sys.modules if module.partition(".")[0] in ("sam_batch", "support")]:
        del sys.modules[module]
    with atheris.instrument_imports(include=["sam_batch"]):  # this package's branches lead, no library's
        target = importlib.import_module("support.fuzz").TARGETS[name]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/", "-max_len=20000", str(seeds)], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for inputs; a temporary one that stays where something was found")
    parser.add_argument("--target", choices=TARGETS, help="this one, in this process")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="sam-batch-fuzz-"))
    if arguments.target:
        run_target(arguments.target, 60 * arguments.minutes, arguments.seed, folder)
        return 0
    failed = 0
    for name in TARGETS:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        same = ["--minutes", str(arguments.minutes), "--seed", str(arguments.seed)]
        command = [sys.executable, "-m", "support.fuzz", "--target", name, "--folder", str(place), *same]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        runs = re.findall(r"Done (\d+) runs", done.stdout + done.stderr)
        failed += done.returncode != 0
        told = f"{runs[-1]} inputs" if runs and not done.returncode else f"exit code {done.returncode}; see {place}"
        words = (done.stdout + done.stderr).splitlines()[-30:] if done.returncode else []
        sys.stdout.write("\n".join([f"{name:14s} {told}", *words, ""]))
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

"""The shape of the package, read from its source: who imports whom, who touches files, who needs torch or Ray."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config

from sam_batch import configfile
from sam_batch.output import ownership

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sam_batch"
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

# A module imports only from lines above its own, and from its own folder.
LAYERS = (
    ("errors", "compiled", "wording"),
    ("records", "section", "yamlfile"),
    ("config_engine", "config_output", "config_prompts", "config_run", "config_storage", "model"),
    ("config",),
    ("mistakes",),
    ("masks",),
    ("engine",),
    ("segment",),
    ("configfile",),
    ("data",),
    ("prompts",),
    ("output",),
    ("export",),
    ("library",),
    ("compat",),
    ("report",),
    ("evaluate",),
    ("job",),
    ("app",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

FILE_CALLS = {
    "open", "fdopen", "read_bytes", "read_text", "write_bytes", "write_text", "imread", "imwrite", "save", "savez",
    "fromfile", "tofile", "memmap", "mkdir", "makedirs", "unlink", "rmdir", "rmtree", "rename", "touch", "link",
    "symlink", "iterdir", "glob", "rglob", "listdir", "scandir", "walk", "mkstemp", "mkdtemp", "NamedTemporaryFile",
    "TemporaryDirectory", "ParquetFile", "read_table", "write_table", "ParquetWriter",
}  # fmt: skip
FILE_LAYER = ("data/storage.py", "data/storage_exclusive.py", "data/storage_local.py", "data/storage_objects.py")
MAY_CALL = {
    "app/batch.py": {"TemporaryDirectory", "write_text"},  # a job's settings, for the program that runs it
    "compiled.py": {"read_bytes", "rglob"},  # the package's own modules, of which compiled code is kept
    "data/sandbox.py": {"read_text"},  # /proc, to know how much memory it has
    "cli/places.py": {"open"},  # what an option names
    "cli/show.py": {"mkdtemp", "open"},  # a place for a picture that nobody named one for; a browser
    "cli/terminal.py": {"open"},  # /dev/null and its own terminal
    "yamlfile.py": {"read_bytes"},  # the job's
    "export/coco_files.py": {"open", "TemporaryDirectory"},  # scratch space; the storage puts the file in its place
    "export/hf.py": {"ParquetWriter", "write_table"},  # likewise
    "export/merged.py": {"open"},  # likewise
    "export/webdataset.py": {"open"},  # likewise
    "export/formats.py": {"link"},  # the storage's
    "export/pictures.py": {"link"},  # likewise
    # Graphs, on this machine.
    "engine/onnx/export.py": {"glob", "iterdir", "mkdir", "rmtree", "save", "TemporaryDirectory", "unlink"},
    "engine/onnx/graph_set.py": {"open", "read_bytes", "write_bytes", "glob"},  # likewise
    # The engines' own folder, which is no user's data and on no object store.
    "engine/tensorrt/plans.py": {"fdopen", "glob", "mkdir", "mkstemp", "open", "read_bytes", "unlink"},
    "job/measure.py": {"TemporaryDirectory"},  # an output that nobody keeps
    "job/preflight.py": {"read_bytes", "rglob"},  # the package's own modules, which nodes are to have too
    "job/ray/submit.py": {"TemporaryDirectory", "write_text"},  # the folder that Ray sends
    "job/share.py": {"glob"},  # /dev, to count GPUs
    "job/machine.py": {"read_text"},  # /sys, for what this container may use
    "job/ray/cluster.py": {"mkdir"},  # Ray's folder
    "job/stopped.py": {"read_text"},  # /proc, to see that a process is stopped
    "output/lease.py": {"read_text"},  # /proc, to know whether a process is the one it was
    "model/fetch.py": {"mkdir"},  # the cache of weights
    "model/checkpoints.py": {"open"},  # weights, to hash them
    "model/state.py": {"open"},  # weights
    "prompts/table.py": {"ParquetFile"},  # over a stream of the storage
    "report/html.py": {"read_text"},  # the package's own template
}
IN_MEMORY = ("BytesIO", "BufferOutputStream", "BufferReader")  # what the same calls may be given elsewhere

WITHOUT_OWN_TEST = {
    **{
        f"app/pages/{name}.py": "a page; browser/test_app.py"
        for name in ("automatic", "batch", "guided", "parts", "site")
    },
    "__main__.py": "one call; job/test_kill.py starts programs with it",
    "prompts/items.py": "values only; prompts/test_coco.py, test_yolo.py and test_table.py make them",
    "data/readers/bare.py": "values only; readers/test_png.py and test_jpeg.py make them",
    "engine/choice.py": "values only; engine/test_factory.py makes them",
    "model/sam/models.py": "values only; model/sam/test_family.py holds them against the modules",
    "engine/tensorrt/plan_key.py": "values only; engine/tensorrt/test_plans.py makes them",
    "model/family.py": "declarations only; model/sam/test_family.py and the toy family keep them",
}


def modules() -> list[str]:
    return [name for name in FILES if not name.endswith("__init__.py")]


def imports(name: str) -> Iterator[str]:
    """Every module a file imports, at its top or inside a function, as dotted names."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """The package's files that a file imports."""
    dotted = {one.replace(".", "/") for one in imports(name) if one.startswith("sam_batch.")}
    return {path for one in dotted if (path := one.removeprefix("sam_batch/") + ".py") in FILES}


def part(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


@pytest.mark.parametrize("name", modules())
def test_imports_point_one_way(name: str) -> None:
    for other in own_imports(name):
        assert part(other) == part(name) or RANK[part(other)] < RANK[part(name)], f"{name} imports {other}"


def test_imports_have_no_cycle() -> None:
    graphlib.TopologicalSorter({name: own_imports(name) for name in modules()}).prepare()


@pytest.mark.parametrize("name", modules())
def test_only_one_folder_knows_ray(name: str) -> None:
    assert name.startswith("job/ray/") or not any(one.split(".")[0] == "ray" for one in imports(name))


@pytest.mark.parametrize("name", [one for one in modules() if part(one) == "masks"])
def test_masks_know_no_file_and_no_clock(name: str) -> None:
    roots = {one.split(".")[0] for one in imports(name)}
    assert not roots & {"os", "io", "pathlib", "time", "datetime", "random", "fsspec", "tempfile", "shutil", "logging"}


def touches_files(name: str) -> Iterator[str]:
    """Calls that open, list or write a file, except those that are given a buffer in memory."""
    for node in ast.walk(TREES[name]):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in FILE_CALLS - MAY_CALL.get(name, set()) and not in_memory(node, name):
            yield f"sam_batch/{name}:{node.lineno}: {ast.unparse(node)[:80]}"


def in_memory(call: ast.Call, name: str) -> bool:
    """Whether the call works on a buffer: is given one, or is a method of one or of what was made from one."""
    known: set[str] = set()
    while found := set(new_buffers(name, known)) - known:
        known |= found
    on = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    return from_buffer(call, known) or ast.unparse(on) in known


def new_buffers(name: str, known: set[str]) -> Iterator[str]:
    """Names that a file binds to buffers, or to what is made from the known ones."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Assign) and from_buffer(node.value, known):
            yield from map(ast.unparse, node.targets)
        elif isinstance(node, ast.withitem) and node.optional_vars and from_buffer(node.context_expr, known):
            yield ast.unparse(node.optional_vars)
        elif isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation).endswith(IN_MEMORY):
            yield node.arg


def from_buffer(node: ast.expr, known: set[str]) -> bool:
    """Whether an expression makes a buffer, or is a call that is given one."""
    if not isinstance(node, ast.Call):
        return False
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    return ast.unparse(node.func).endswith(IN_MEMORY) or any(
        ast.unparse(one) in known or from_buffer(one, known) for one in given
    )


@pytest.mark.parametrize("name", [one for one in modules() if one not in FILE_LAYER])
def test_only_the_storage_touches_files(name: str) -> None:
    assert list(touches_files(name)) == []


def test_the_search_for_file_calls_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "open(path)\nPath(p).write_bytes(b'')\nImage.open(path)\nImage.open(io.BytesIO(data))\n"
    monkeypatch.setitem(TREES, "probe.py", ast.parse(source))
    assert [line.split(":")[1] for line in touches_files("probe.py")] == ["1", "2", "3"]


def test_one_broad_except_goes_on() -> None:
    """At the item boundary, where a bad image becomes a row. One that ends in a raise only says it better."""
    broad = [name for name in modules() for node in ast.walk(TREES[name]) if is_broad(node)]
    assert broad == ["job/boundary.py"]


def is_broad(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler) or isinstance(node.body[-1], ast.Raise):
        return False
    return node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}


def test_init_files_of_folders_are_empty() -> None:
    full = [name for name, path in FILES.items() if name.endswith("/__init__.py") and path.read_bytes().strip()]
    assert full == []


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {part(name) for name in FILES} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("name", modules())
def test_every_module_has_a_test_file_of_its_own(name: str) -> None:
    folder, _, module = name.rpartition("/")
    assert (ROOT / "tests" / folder / f"test_{module}").is_file() != (name in WITHOUT_OWN_TEST)


@pytest.mark.parametrize("name", modules())
def test_no_module_is_longer_than_one_can_keep_in_mind(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) < 400


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_entry_points_are_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40


def loaded_after(*pieces: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after running pieces of code, of which each may exit with 0."""
    script = "import sys\n"
    for piece in pieces:
        script += f"try:\n    {piece}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    script += "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def command(*arguments: str) -> str:
    return f"sys.argv[1:] = {list(arguments)!r}; from sam_batch.cli.main import main; main()"


def test_light_verbs_load_neither_torch_nor_ray_nor_onnx(tmp_path: Path) -> None:
    job = [str(ROOT / "configs" / "demo.yaml"), f"input.uri={ROOT / 'examples'}", f"output.uri={tmp_path / 'out'}"]
    helps = [command("--help"), command("run", "--help"), command("engine", "build", "--help")]
    verbs = [command("plan", *job), command("status", *job), command("engine", "list", *job, "engine.kind=auto")]
    assert not loaded_after(*helps, *verbs) & {"torch", "ray", "onnx"}


def test_a_finished_job_loads_neither_torch_nor_ray_nor_a_compiler(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "photos", 1)
    path = tmp_path / "job.yaml"
    path.write_text(configfile.to_yaml(job_config(tmp_path / "photos", tmp_path / "out", run={"executor": "ray"})))
    drivers.start(configfile.load([path], ["run.executor=inline"])).join(120)
    # To run elsewhere shapes nothing, but is said in config.yaml.
    (tmp_path / "out/config.yaml").write_bytes(ownership.sealed(configfile.to_yaml(configfile.load([path]))))
    assert not loaded_after(command("run", str(path))) & {"torch", "ray", "numba"}


def test_the_package_itself_imports_next_to_nothing() -> None:
    assert not loaded_after("import sam_batch") & {"torch", "numpy", "ray"}


def test_rays_loaders_and_writers_do_not_import_torch() -> None:
    assert "torch" not in loaded_after("import sam_batch.job.ray.executor")


def test_the_data_folder_imports_neither_torch_nor_a_compiler() -> None:
    names = [f"sam_batch.{name.removesuffix('.py').replace('/', '.')}" for name in modules() if part(name) == "data"]
    names += [f"sam_batch.masks.{name}" for name in ("geometry", "grids", "rle")]
    assert not loaded_after(f"import {', '.join(names)}") & {"torch", "numba"}


def test_triton_is_imported_only_where_its_kernels_run() -> None:
    assert "triton" not in loaded_after("import sam_batch.masks.logits")

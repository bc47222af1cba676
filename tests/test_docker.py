"""The images' recipes, as far as they can be looked at without building them."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RECIPES = sorted(ROOT.glob("Dockerfile.*"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def steps(recipe, *kinds):
    """The arguments of a recipe's steps of some kinds, comments and continued lines put away."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", recipe.read_text(), flags=re.MULTILINE))
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(kinds)]


def installed(recipe):
    """What pip is given, without the options that only images need."""
    commands = (shlex.split(step) for step in steps(recipe, "RUN") if step.startswith("pip "))
    return [" ".join(word for word in command if word != "--no-cache-dir") for command in commands]


def ignored():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
class TestEachRecipe:
    def test_the_base_is_named_by_version_and_of_a_python_that_is_supported(self, recipe):
        (base,) = steps(recipe, "FROM")
        python = re.fullmatch(r"python:(3\.(\d+)\.\d+)-slim-[a-z]+", base)
        assert 11 <= int(python[2]) < 14

    def test_it_knows_only_steps_that_there_are(self, recipe):
        known = ("FROM", "RUN", "ENV", "COPY", "WORKDIR", "ENTRYPOINT", "CMD")
        text = re.sub(r"^#.*\n", "", recipe.read_text(), flags=re.MULTILINE)
        assert {line.split()[0] for line in text.splitlines() if line} <= {*known}

    def test_the_package_is_installed_with_extras_that_it_has(self, recipe):
        place, extras = re.fullmatch(r"pip install (\S+)\[(\S+)\]", installed(recipe)[-1]).groups()
        assert steps(recipe, "COPY") == [f". {place}"]
        assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()

    def test_it_begins_with_the_program(self, recipe):
        assert steps(recipe, "ENTRYPOINT") == ['["sam-batch"]']
        assert "sam-batch" in PROJECT["project"]["scripts"]


def test_without_a_gpu_torch_comes_from_where_the_readme_says():
    first, _ = installed(ROOT / "Dockerfile.cpu")
    assert f"{first}\n" in README


def test_the_image_of_the_cluster_has_what_its_job_names():
    place = steps(ROOT / "Dockerfile.gpu", "COPY")[0].split()[1]
    assert f"python {place}/jobs/segment.py" in (ROOT / "jobs/rayjob.yaml").read_text()
    assert (ROOT / "jobs/segment.py").is_file()
    assert "[cluster,s3," in installed(ROOT / "Dockerfile.gpu")[-1]


def test_what_the_wheel_and_the_recipes_need_is_not_ignored():
    needed = [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml"]
    needed += PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed += ["jobs", "configs", "examples"]
    assert [name for name in needed if name in ignored() or f"{name}/" in ignored()] == []


def test_what_git_ignores_images_ignore_too():
    in_git = [line for line in (ROOT / ".gitignore").read_text().splitlines() if line]
    assert [line for line in in_git if line not in ignored() and f"**/{line}" not in ignored()] == []

"""YAML and overrides in, a checked configuration or one clear line a mistake out."""

import json
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_batch import configfile
from sam_batch.config import MOVED, Config
from sam_batch.errors import ConfigError
from sam_batch.section import keys
from sam_batch.segment.algorithm import ALGORITHMS

REQUIRED = {"input": {"uri": "photos"}, "output": {"uri": "out"}}


@pytest.fixture
def job(tmp_path):
    def write(text: str, name: str = "job.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_files_merge_left_to_right_and_overrides_come_last(job):
    first = job("input: {uri: photos, limit: 3}\noutput: {uri: out}\n", "a.yaml")
    second = job("input: {limit: 4}\ngenerator: {points_per_side: 8}\n", "b.yaml")
    config = configfile.load([first, second], ["generator.points_per_side=16", "run.executor=inline"])
    assert (config.input.limit, config.generator.points_per_side, config.run.executor) == (4, 16, "inline")
    assert config.input.uri == "photos"


def test_overrides_alone_make_a_job():
    config = configfile.load([], ["input.uri=[a,b]", "output.uri=x=y"])
    assert config.input.uris == ("a", "b")
    assert config.output.uri == "x=y"


def set_to(text: str, key: str):
    """What an override makes of a key."""
    config = configfile.load([], ["input.uri=a", "output.uri=b", f"{key}={text}"])
    return attrgetter(key)(config)


@given(st.text(min_size=1), st.sampled_from(["output.uri", "model.checkpoint", "engine.tensorrt.folder"]))
def test_text_is_taken_as_it_is(text, key):
    assert set_to(text, key) == text


@pytest.mark.parametrize(
    "text",
    [
        "*.jpg",
        "**/*.jpg",
        "exp #2",
        "~",
        "null",
        "2026",
        "a: b",
        "'a'",
        " a ",
        "!x",
        "&x",
        "@x",
        "{a}",
        "[a].jpg",
        "[a",
    ],
)
def test_what_yaml_would_read_otherwise_is_text_to_a_key_that_takes_text(text):
    assert set_to(text, "input.uri") == text


@pytest.mark.parametrize(
    ("text", "value"), [("[a,b]", ("a", "b")), ("['a b', 2026, null]", ("a b", "2026", "null")), ("[]x[]", "[]x[]")]
)
def test_a_key_that_takes_a_list_takes_one_that_is_written_as_one(text, value):
    assert set_to(text, "input.uri") == value


@pytest.mark.parametrize("key", ["storage.region", "storage.endpoint_url", "model.sha256", "input.limit"])
def test_null_unsets_what_may_be_unset(key):
    assert set_to("null", key) is None


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("input.limit", "3", 3),
        ("run.actors", "2", 2),
        ("run.actors", "auto", "auto"),
        ("input.recursive", "false", False),
        ("input.recursive", "yes", True),
        ("generator.stability_score_offset", "1e-3", 0.001),
        ("generator.point_grids", "[[[.25, 0.5]]]", ([(0.25, 0.5)],)),
        ("model.sha256", "1" * 64, "1" * 64),
    ],
)
def test_numbers_truth_values_and_lists_are_read_where_a_key_takes_them(key, text, value):
    assert set_to(text, key) == value


@pytest.mark.parametrize("text", ["yes", "010", "1_000", "3 # three", "1e3", "3.0", ""])
def test_a_whole_number_is_written_in_digits(text):
    with pytest.raises(ConfigError, match=r"^input\.limit = .*: should be a whole number or null$"):
        set_to(text, "input.limit")


@pytest.mark.parametrize(
    "override", ["generator", "=3", "input.uri =a", "a.b=[", "generator=1", "input.uri.x=1", ".=1"]
)
def test_overrides_that_cannot_be_read_are_refused(override):
    with pytest.raises(ConfigError):
        configfile.load([], ["input.uri=a", "output.uri=b", override])


def test_a_section_left_empty_in_a_file_changes_nothing(job):
    first = job("input: {uri: photos}\noutput: {uri: out}\nmodel: {name: vit_b}\n", "a.yaml")
    assert configfile.load([first, job("model:\ngenerator:\n", "b.yaml")]) == configfile.load([first])


def test_every_mistake_gets_its_line():
    with pytest.raises(ConfigError) as caught:
        configfile.check({"generator": {"points_per_side": 0}})
    assert len(str(caught.value).splitlines()) == 3


def test_environment_is_never_read_from_a_file(job):
    path = job("input: {uri: '${oc.env:HOME}'}\noutput: {uri: out}\n")
    assert configfile.load([path]).input.uri == "${oc.env:HOME}"


def test_effective_configuration_reads_back_equal(job):
    config = configfile.check(REQUIRED | {"generator": {"point_grids": [[[0.25, 0.5]]]}})
    assert configfile.load([job(configfile.to_yaml(config))]) == config


@given(
    st.fixed_dictionaries(
        {
            "generator": st.fixed_dictionaries(
                {}, optional={"pred_iou_thresh": st.floats(0, 1), "points_per_side": st.integers(1, 512)}
            ),
            "run": st.fixed_dictionaries({}, optional={"actors": st.integers(1, 9) | st.just("auto")}),
        }
    )
)
def test_any_valid_settings_survive_yaml(settings):
    config = configfile.check(REQUIRED | settings)
    assert configfile.check(yaml.safe_load(configfile.to_yaml(config))) == config


def test_template_is_a_job_with_every_key_at_its_default(job):
    config = configfile.load([job(configfile.template())])
    assert config == Config.model_validate({"input": {"uri": "photos/"}, "output": {"uri": "out/"}})
    assert set(yaml.safe_load(configfile.template())) == set(Config.model_fields)


def test_the_schema_knows_the_algorithms():
    mode = json.loads(configfile.json_schema())["$defs"]["GeneratorConfig"]["properties"]["mode"]
    assert mode["enum"] == list(ALGORITHMS)


def test_schema_beside_the_configurations_is_current():
    stored = Path(__file__).parents[1] / "configs" / "job.schema.json"
    assert stored.read_text() == configfile.json_schema(), "run: sam-batch config schema > configs/job.schema.json"
    assert json.loads(stored.read_text())["additionalProperties"] is False


class TestMovedKeys:
    """Those of earlier versions, in files and overrides."""

    @pytest.fixture
    def file(self, tmp_path):
        def write(text):
            path = tmp_path / "old.yaml"
            path.write_text(f"input: {{uri: photos}}\noutput: {{uri: out}}\n{text}")
            return path

        return write

    def test_they_are_read_with_a_warning(self, file, caplog):
        old = file("engine: {kind: torch, folder: /engines, verify: {images: 3}}")
        engine = configfile.load([old], ["engine.max_prompts=5", "engine.verify.min_cosine=0.5"]).engine
        assert (engine.tensorrt.folder, engine.tensorrt.max_prompts) == ("/engines", 5)
        assert (engine.tensorrt.verify.images, engine.tensorrt.verify.min_cosine) == (3, 0.5)
        assert "engine.folder is now engine.tensorrt.folder; the old name is still read" in caplog.messages
        assert "engine.verify.min_cosine is now engine.tensorrt.verify.min_cosine" in caplog.text

    def test_the_later_of_two_files_counts_whichever_name_it_uses(self, file, tmp_path):
        new = tmp_path / "new.yaml"
        new.write_text("engine: {tensorrt: {folder: new, max_images: 2}}")
        old = file("engine: {folder: old}")
        assert configfile.load([old, new]).engine.tensorrt.folder == "new"
        assert configfile.load([new, old]).engine.tensorrt.folder == "old"
        assert configfile.load([new, old]).engine.tensorrt.max_images == 2

    def test_both_names_in_one_file_are_refused(self, file):
        both = file("engine: {folder: old, tensorrt: {folder: new}}")
        with pytest.raises(ConfigError, match=r"old\.yaml: engine\.folder is the old name of engine\.tensorrt\.folder"):
            configfile.load([both])

    def test_what_is_no_section_is_refused_as_ever(self, file):
        with pytest.raises(ConfigError, match=r"engine\.tensorrt = 5: is a section"):
            configfile.load([file("engine: {folder: old, tensorrt: 5}")])

    def test_each_points_to_a_key_or_a_section_that_exists(self):
        assert set(MOVED.values()) <= {name for name, _ in keys(Config)}
        assert not set(MOVED) & {name for name, _ in keys(Config)}


@pytest.mark.parametrize(
    "setting",
    [
        "input.uri=https://me:secret@host/a",
        "output.uri=s3://me:secret@bucket/out",
        "input.uri=[a, 'ftp://m:secret@h']",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(setting):
    with pytest.raises(ConfigError, match=rf"^{setting.partition('=')[0]}: has a password") as refused:
        configfile.load([], ["input.uri=in", "output.uri=out", setting])
    assert "secret" not in str(refused.value)


def test_where_an_account_is_part_of_an_address_it_may_be():
    uri = "abfs://photos@account.dfs.core.windows.net/in"
    assert configfile.load([], [f"input.uri={uri}", "output.uri=out"]).input.uri == uri

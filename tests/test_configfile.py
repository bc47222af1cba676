"""YAML and overrides in, a checked configuration or one clear line a mistake out."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.errors import ConfigError

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": {}}, "input.uri: is required"),
        ({"input": None}, "input = None: should be a valid dictionary or instance of InputConfig"),
        (
            {"generator": {"points_per_sid": 3}},
            "generator.points_per_sid: unknown key; did you mean generator.points_per_side?",
        ),
        ({"points_per_side": 3}, "points_per_side: unknown key; did you mean generator.points_per_side?"),
        ({"zzz": 3}, "zzz: unknown key"),
        (
            {"generator": {"pred_iou_thresh": 1.5}},
            "generator.pred_iou_thresh = 1.5: should be less than or equal to 1",
        ),
        (
            {"generator": {"points_per_side": "many"}},
            "generator.points_per_side = 'many': should be a valid integer",
        ),
        ({"engine": {"device": "tpu"}}, "engine.device = 'tpu': should be 'auto', 'cpu' or 'cuda'"),
        (
            {"generator": {"point_grids": [[[0, 7]]]}},
            "generator.point_grids.0.0.1 = 7: should be less than or equal to 1",
        ),
        ({"run": {"actors": 0}}, "run.actors = 0: should be at least 1, or auto"),
    ],
)
def test_mistakes_name_the_key_the_value_and_what_is_allowed(change, message):
    with pytest.raises(ConfigError) as caught:
        configfile.check(REQUIRED | change)
    assert str(caught.value) == message


def test_every_mistake_gets_its_line():
    with pytest.raises(ConfigError) as caught:
        configfile.check({"generator": {"points_per_side": 0}})
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input: {uri: a}\ninput: {uri: b}\n", "the key 'input' is given twice"),
        ("input: &a {uri: a}\noutput: *a\n", "aliases"),
        ("input: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("- a\n- b\n", "should be a mapping"),
        ("", "should be a mapping"),
        ("input: [\n", "while parsing"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: " + "[" * 50 + "]" * 50, "nested deeper"),
        ("a: '" + "x" * (1 << 20) + "'", "at most"),
    ],
)
def test_files_that_are_no_plain_mapping_are_refused(job, text, reason):
    with pytest.raises(ConfigError, match=reason):
        configfile.load([job(text)])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        configfile.load([tmp_path / "nowhere.yaml"])


@pytest.mark.parametrize("override", ["generator", "generator.points_per_side", "=3", "a.b=[", "input.uri=${oc.env:X"])
def test_overrides_that_cannot_be_read_are_refused(override):
    with pytest.raises(ConfigError):
        configfile.load([], ["input.uri=a", "output.uri=b", override])


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


def test_schema_beside_the_configurations_is_current():
    stored = Path(__file__).parents[1] / "configs" / "job.schema.json"
    assert stored.read_text() == configfile.json_schema(), "run: sam-batch config schema > configs/job.schema.json"
    assert json.loads(stored.read_text())["additionalProperties"] is False


def test_yes_is_no_number():
    with pytest.raises(ConfigError, match=r"input\.limit = True: should be a valid integer"):
        configfile.load([], ["input.uri=a", "output.uri=b", "input.limit=yes"])


def test_a_tree_has_its_leaves_under_dotted_keys() -> None:
    assert configfile.flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}

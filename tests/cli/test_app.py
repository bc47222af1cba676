"""The app's verb: settings as for `show`, refused before a model is loaded; its packages are an extra."""

import socket

import pytest

from sam_batch.cli import app as module
from sam_batch.cli.app import is_loopback, read_settings, serve_app
from sam_batch.cli.show import DEMO
from sam_batch.errors import ConfigError


def test_without_a_model_it_is_the_demo_under_its_own_thresholds():
    config = read_settings(["generator.pred_iou_thresh=0.3"])
    assert (config.model.name, config.generator.pred_iou_thresh) == ("demo", 0.3)
    assert config.generator.points_per_side == DEMO["generator"]["points_per_side"]


def test_with_a_model_it_is_that_one_under_the_configurations_defaults():
    config = read_settings(["model.name=vit_b"])
    assert (config.model.name, config.generator.pred_iou_thresh) == ("vit_b", 0.88)


@pytest.mark.parametrize("setting", ["generator.points=3", "prompts.uri=boxes.json", "nowhere.yaml"])
def test_what_cannot_be_set_is_refused(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        read_settings([setting])


def test_without_its_packages_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'sam-batch\[app\]'"):
        serve_app(read_settings([]), "127.0.0.1", 8080, show=False)


def test_an_address_that_is_taken_is_refused_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be listened on"):
            serve_app(read_settings([]), "127.0.0.1", port, show=False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.7", False), ("here", False)],
)
def test_which_addresses_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected

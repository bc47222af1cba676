"""An address is told how a run ended; where it cannot be, that changes nothing."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch import configfile
from sam_batch.errors import ConfigError
from sam_batch.job import webhook
from sam_batch.output.summary import Summary


class Listener(BaseHTTPRequestHandler):
    told: list
    answer = 200

    def do_POST(self):
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def listener(monkeypatch):
    """What is told to `listener.url`, which has a secret in it."""
    Listener.told = []
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        Listener.url = f"http://127.0.0.1:{server.server_port}/hooks/secret"
        yield Listener
        server.shutdown()
        thread.join()


def test_it_is_told_the_summary_of_a_run(listener, tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    (tmp_path / "photos/bad.jpg").write_bytes(b"no image")
    run(job_config(tmp_path / "photos", tmp_path / "out", run={"webhook": listener.url}))
    (told,) = listener.told
    assert (told["exit_code"], told["failures"], told["output"]) == (3, {"not_an_image": 1}, str(tmp_path / "out"))
    assert told["text"].startswith("2 of 2 images done")


@pytest.mark.parametrize("kind", ["refuses", "is not there", "is no address"])
def test_what_goes_wrong_is_warned_of_without_the_secret(listener, monkeypatch, caplog, kind):
    monkeypatch.setattr(listener, "answer", 404)
    addresses = {"refuses": listener.url, "is not there": "http://127.0.0.1:1/hooks/secret"}
    webhook.tell(addresses.get(kind, "https://[secret"), Summary("out", 0.0))
    (warning,) = caplog.messages
    assert warning.startswith("run.webhook: ")
    assert "secret" not in warning


def test_a_listener_that_never_answers_is_not_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.05)
    with HTTPServer(("127.0.0.1", 0), Listener) as silent:
        webhook.tell(f"http://127.0.0.1:{silent.server_port}/", Summary("out", 0.0))
    assert "was not told of the end: TimeoutError" in caplog.text


def test_the_address_may_be_a_variable_s():
    assert webhook.address_of("env:HOOK", {"HOOK": "https://example.com/x"}) == "https://example.com/x"
    assert webhook.address_of(None) is None


@pytest.mark.parametrize("environment", [{}, {"HOOK": "secret"}])
def test_a_variable_without_an_address_ends_the_run_before_it_begins(environment, tmp_path, monkeypatch):
    monkeypatch.delenv("HOOK", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"run\.webhook: env:HOOK: the variable HOOK holds no URL") as refused:
        run(job_config(tmp_path, tmp_path / "out", run={"webhook": "env:HOOK"}))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("settings", [["run.webhook=htps://secret"], ["run.webhook =https://secret"]])
def test_a_wrong_address_is_not_repeated(settings):
    with pytest.raises(ConfigError, match=r"^run\.webhook") as refused:
        configfile.load([], ["input.uri=in", "output.uri=out", *settings])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("kept", [True, False])
def test_the_output_keeps_a_variable_s_name_and_no_address(listener, tmp_path, monkeypatch, kept):
    monkeypatch.setenv("HOOK", listener.url)
    draw_photographs(tmp_path / "photos", 1)
    config = job_config(tmp_path / "photos", tmp_path / "out", run={"webhook": "env:HOOK" if kept else listener.url})
    run(config)
    text = (tmp_path / "out/config.yaml").read_text()
    assert ("webhook: env:HOOK" in text, listener.url in text) == (kept, False)
    assert run(config).used == {}  # the same configuration has done all there is

"""A YAML file is one plain mapping, or refused with the line and the reason."""

import pytest

from sam_batch import yamlfile
from sam_batch.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def read(content: str | bytes):
        path = tmp_path / "job.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return yamlfile.read(path)

    return read


def test_a_mapping_is_read_as_it_stands(read):
    assert read("input: {uri: '${HOME}', limit: 3}\n# a comment\noutput:\n") == {
        "input": {"uri": "${HOME}", "limit": 3},
        "output": None,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("input: {uri: a}\ninput: {uri: b}\n", r"job\.yaml, line 2: the key 'input' is given twice"),
        ("input: &a {uri: a}\noutput: *a\n", r"line 2: aliases \(\*a\) are not allowed"),
        ("input: !!python/object/apply:os.system [ls]\n", "line 1: could not determine a constructor"),
        ("- a\n- b\n", "holds a list, where sections are wanted"),
        ("", "holds nothing, where sections are wanted"),
        ("photos/", "holds a single value, where sections are wanted"),
        ("input: [\n", "line 2: expected the node content"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: " + "[" * 50 + "]" * 50, "line 1: nested deeper than 20 levels"),
        ("a: '" + "x" * (1 << 20) + "'", "at most 1,048,576"),
        ("input:\n\turi: a\n", "line 2: there is a tab; YAML is indented with blanks"),
        (b"\xff\xd8\xff\xe0 JFIF", "is no text that YAML can read"),
        (b"a: \0", "is no text that YAML can read"),
    ],
)
def test_files_that_are_no_plain_mapping_are_refused(read, content, reason):
    with pytest.raises(ConfigError, match=reason):
        read(content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        yamlfile.read(tmp_path / "nowhere.yaml")

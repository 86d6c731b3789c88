"""A measurement is refused if it, or anything it was made from, is not as the config says."""

import pytest

from detoxmerge.errors import UserError
from detoxmerge.report import provenance
from detoxmerge.report.provenance import Provenance
from detoxmerge.storage.artefacts import write_manifest


@pytest.fixture
def chain(tmp_path):
    """data <- model <- result, as path -> protocol; all as configured."""
    paths = [str(tmp_path / f"{name}.json") for name in ("data", "model", "result")]
    expected = {path: {"version": 1, "rate": 1e-5, "list": [1, 2]} for path in paths}
    for path, source in zip(paths, [None, *paths[:-1]], strict=True):
        make(path, expected[path], source)
    return expected


def make(path, protocol, source=None, **content):
    write_manifest(path, protocol=protocol, inputs=[source] if source else [], files={}, **content)


def refused(expected, path=None):
    with pytest.raises(UserError) as error:
        Provenance(expected).require(path or list(expected)[-1])
    return str(error.value)


def test_chain_as_configured_is_accepted(chain):
    assert Provenance(chain).require(list(chain)[-1]) is None


@pytest.mark.parametrize("position", [0, 1, 2])
def test_other_protocol_anywhere_in_the_chain_is_refused(chain, position):
    path = list(chain)[position]
    message = refused(chain | {path: chain[path] | {"rate": 2e-5}})
    assert message.startswith(f"{path} was made with rate = 1e-05, and the config says 2e-05")
    assert "delete it (or restore the config) and run again" in message


def test_bumped_version_is_refused(chain):
    path = next(iter(chain))
    message = refused(chain | {path: chain[path] | {"version": 2}})
    assert "version = 1, and the config says 2" in message


@pytest.mark.parametrize(
    ("configured", "words"),
    [
        (
            {"version": 1, "rate": 1e-5, "list": [1, 2], "new": 5},
            "new = None, and the config says 5",
        ),
        ({"version": 1, "rate": 1e-5}, "list = [1, 2], and the config says None"),
        ({"version": 1, "rate": 1e-5, "list": [2, 1]}, "list = [1, 2], and the config says [2, 1]"),
    ],
)
def test_key_that_came_went_or_changed_order_is_refused(chain, configured, words):
    assert words in refused(chain | {list(chain)[1]: configured})


def test_protocol_is_compared_as_json(chain):
    path = next(iter(chain))
    assert Provenance(chain | {path: chain[path] | {"list": (1, 2)}}).require(path) is None


@pytest.mark.parametrize("position", [0, 1])
def test_source_that_changed_since_is_refused(chain, position):
    source, result = list(chain)[position : position + 2]
    make(source, chain[source], next(iter(chain)) if position else None, more="changed")
    message = refused(chain)
    assert message.startswith(f"{result} was made from another version of {source} than the ")
    assert message.endswith(f"delete {result} and run again")


def test_missing_result_is_refused(chain, tmp_path):
    message = refused(chain, str(tmp_path / "gone.json"))
    assert message.startswith(f"{tmp_path}/gone.json is missing; run the workflow again")


def test_missing_source_is_refused(chain, tmp_path):
    (tmp_path / "data.json").unlink()
    assert refused(chain).startswith(f"{tmp_path}/data.json is missing; run the workflow again")


def test_source_outside_of_the_study_is_refused(chain, tmp_path):
    other = str(tmp_path / "other.json")
    make(other, {"version": 1})
    path = list(chain)[-1]
    make(path, chain[path], other)
    assert refused(chain) == (
        f"{path} was made from {other}, which is not a file of this study; undo the renaming, "
        f"or delete {path} and run again"
    )


def test_every_source_is_read_once(monkeypatch, chain):
    seen = []
    read = provenance.read_json
    monkeypatch.setattr(provenance, "read_json", lambda path: seen.append(path) or read(path))
    checked = Provenance(chain)
    for path in reversed(chain):
        checked.require(path)
    assert sorted(seen) == sorted(chain)

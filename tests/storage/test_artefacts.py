"""Files that are whole or not there: publishing by rename, JSON without NaN, manifests."""

import hashlib
import json
import os

import pytest

from detoxmerge.errors import UserError
from detoxmerge.storage.artefacts import (
    certified,
    publish,
    publish_folder,
    read_json,
    require_sum,
    sha256,
    write_json,
    write_manifest,
    write_sealed,
    write_text,
)


def names(folder):
    """Every file of a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    """Begin to write a file, then fail."""
    with publish(path) as part:
        part.write_text("half")
        raise error


def test_checksum_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"\x00\xff" * 100_000)
    assert sha256(file) == hashlib.sha256(b"\x00\xff" * 100_000).hexdigest()


def test_published_file_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "new" / "folder" / "x.txt"
    with publish(path) as part:
        part.write_text("half")
        assert not path.exists()
        assert part.parent == path.parent  # a rename must not cross file systems
    assert path.read_text() == "half"
    assert names(path.parent) == ["x.txt"]


def test_exception_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="boom"):
        write_half(path, RuntimeError("boom"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_exception_before_the_first_byte_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), publish(tmp_path / "x.txt"):
        raise RuntimeError("boom")
    assert names(tmp_path) == []


def test_interruption_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "x.txt", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_failing_rename_leaves_the_old_file_and_no_other(monkeypatch, tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def no_rename(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", no_rename)
    with pytest.raises(OSError, match="disk"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_two_processes_do_not_write_into_one_file(monkeypatch, tmp_path):
    with publish(tmp_path / "x") as mine:
        mine.touch()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with publish(tmp_path / "x") as other:
            other.touch()
            assert mine != other


def test_temporary_file_is_hidden_from_patterns(tmp_path):
    with publish(tmp_path / "x.safetensors") as part:
        part.touch()
        assert list(tmp_path.glob("*.safetensors")) == []


def write_half_a_folder(path, error):
    """Begin to write a folder, then fail."""
    with publish_folder(path) as part:
        (part / "a").write_text("half")
        raise error


def test_published_folder_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "new" / "folder"
    with publish_folder(path) as part:
        (part / "a").write_text("whole")
        (part / "b").mkdir()
        (part / "b" / "c").write_text("below")
        assert not path.exists()
        assert part.parent == path.parent
    assert names(path) == ["a", "b"]
    assert (path / "b" / "c").read_text() == "below"
    assert names(path.parent) == ["folder"]


def test_published_folder_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with publish_folder(path) as part:
        (part / "a").touch()
        assert names(path) == ["old"]
    assert names(path) == ["a"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_the_old_folder_and_no_other(tmp_path, error):
    with pytest.raises(error):
        write_half_a_folder(tmp_path / "new", error())
    assert names(tmp_path) == []
    with publish_folder(tmp_path / "old") as part:
        (part / "b").touch()
    with pytest.raises(error):
        write_half_a_folder(tmp_path / "old", error())
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["b"]


def test_failing_rename_of_a_folder_leaves_the_old_one(monkeypatch, tmp_path):
    path, rename = tmp_path / "x", os.replace
    with publish_folder(path) as part:
        (part / "a").touch()

    def no_new(source, target):
        if str(source).endswith(".part"):
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(os, "replace", no_new)
    with pytest.raises(OSError, match="disk"), publish_folder(path) as part:
        (part / "b").touch()
    assert names(tmp_path) == ["x"]
    assert names(path) == ["a"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    write_text(tmp_path / "x", "é\n\r\n’")
    assert (tmp_path / "x").read_bytes() == "é\n\r\n’".encode()


def test_json_comes_back_as_it_was(tmp_path):
    content = {"b": [1, 0.1, None, True, "é"], "a": {"x": 1e-300}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    assert list(read_json(tmp_path / "x.json")) == ["b", "a"]
    assert (tmp_path / "x.json").read_bytes().endswith(b"\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_a_number_that_is_none_and_keeps_the_old_file(tmp_path, number):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": [number]})
    assert read_json(tmp_path / "x.json") == 1
    assert names(tmp_path) == ["x.json"]


def test_missing_json_is_a_sentence(tmp_path):
    with pytest.raises(UserError) as error:
        read_json(tmp_path / "x.json")
    assert str(error.value).startswith(f"{tmp_path}/x.json is missing; run the workflow again")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_broken_json_is_a_sentence(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json(tmp_path / "x.json")
    assert str(error.value).startswith(f"{tmp_path}/x.json is not valid JSON (")
    assert str(error.value).endswith("delete it and run again")


def test_manifest_holds_protocol_checksums_and_results(tmp_path):
    source = tmp_path / "source.json"
    write_json(source, {})
    write_manifest(
        tmp_path / "m.json", protocol={"version": 1}, inputs=[source], files={"x": "0"}, more=[1]
    )
    assert read_json(tmp_path / "m.json") == {
        "protocol": {"version": 1},
        "inputs": {str(source): sha256(source)},
        "files": {"x": "0"},
        "more": [1],
    }


def test_manifest_changes_with_its_inputs_and_only_with_them(tmp_path):
    source, manifest = tmp_path / "source.json", tmp_path / "m.json"

    def written(content):
        write_json(source, content)
        write_manifest(manifest, protocol={}, inputs=[source], files={})
        return manifest.read_bytes()

    first = written({"a": 1})
    assert written({"a": 1}) == first
    assert written({"a": 2}) != first


def test_manifest_of_a_missing_input_is_not_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_manifest(tmp_path / "m.json", protocol={}, inputs=[tmp_path / "gone"], files={})
    assert names(tmp_path) == []


def test_sealed_json_comes_back_without_its_seal(tmp_path):
    content = {"b": [1, 0.1, None, "é"], "a": {}}
    write_sealed(tmp_path / "x.json", content)
    assert list(read_json(tmp_path / "x.json").items()) == list(content.items())
    assert json.loads((tmp_path / "x.json").read_text()).keys() == {"seal", "b", "a"}


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_whatever_byte_of_sealed_json_is_changed_or_cut_is_noticed(tmp_path, flip):
    """White space and the seal itself, too."""
    path = tmp_path / "x.json"
    write_manifest(path, protocol={"version": 1}, inputs=[], files={"x": "0" * 64}, value=0.25)
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
        with pytest.raises(UserError, match=r"x\.json (was changed after|is not valid JSON)"):
            read_json(path)
        path.write_bytes(whole[:i])
        with pytest.raises(UserError, match=r"x\.json is not valid JSON|x\.json was changed"):
            read_json(path)


@pytest.mark.parametrize(
    "content", [{"a": "0" * 64}, {"sha256": "0" * 64}, {"_name_or_path": "a/" * 32}, [], "0" * 64]
)
def test_other_json_needs_no_seal(tmp_path, content):
    """A model's config.json, and the manifests of earlier versions."""
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content


def flipped(path):
    """Change a byte; size and date stay as they are."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_certified_file_is_the_one_that_was_written(tmp_path):
    file, manifest = tmp_path / "x.txt", tmp_path / "m.json"
    file.write_text("text")
    write_manifest(manifest, protocol={}, inputs=[], files={"x.txt": sha256(file)})
    assert certified(manifest, "x.txt") == file
    flipped(file)
    with pytest.raises(UserError) as error:
        certified(manifest, "x.txt")
    assert str(error.value) == (
        f"{file} is not what {manifest} says: it was changed or cut after it was written; delete "
        f"{manifest} and run again"
    )
    file.unlink()
    with pytest.raises(UserError) as error:
        certified(manifest, "x.txt")
    assert str(error.value) == (
        f"{file} is missing, and {manifest} lists it; delete {manifest} and run again"
    )
    with pytest.raises(UserError, match=r"m\.json does not list y\.txt; delete .*m\.json and run"):
        certified(manifest, "y.txt")


def test_file_that_lies_elsewhere_is_mended_in_its_own_way(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("text")
    assert require_sum(file, sha256(file), "m.json") == file
    with pytest.raises(UserError, match=r"; fetch it, or delete m\.json and run again$"):
        require_sum(file, "0" * 64, "m.json", "fetch it, or delete {}")

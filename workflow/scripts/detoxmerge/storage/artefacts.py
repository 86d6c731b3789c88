"""Files that are complete or absent: checksums, JSON, manifests, and publishing by rename."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError
from .leftovers import remove, remove_leftovers, unfinished

CHECKSUM_BYTES = 1 << 18
SEAL = b'{\n "seal": "', b'",\n'  # before and behind the 64 digits that a sealed file begins with


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checksum:
    """SHA-256 of a file that is still being written or read, taken a piece at a time."""

    def __init__(self, file: BinaryIO) -> None:
        """Start with nothing taken.

        Args:
            file: open for reading; its position does not matter, and stays.
        """
        self._file, self._sha256, self._taken = file, hashlib.sha256(), 0
        self._buffer = memoryview(bytearray(CHECKSUM_BYTES))

    def take_to(self, end: int) -> None:
        """Take what lies before a byte offset, if it was not taken yet.

        Args:
            end: bytes from the start of the file.

        Raises:
            OSError: the file ends before it.
        """
        while self._taken < end:
            part = self._buffer[: end - self._taken]
            count = os.preadv(self._file.fileno(), [part], self._taken)
            if not count:
                raise OSError(f"{self._file.name} became shorter while it was read")
            self._sha256.update(part[:count])
            self._taken += count

    def hexdigest(self) -> str:
        """The checksum of all that was taken."""
        return self._sha256.hexdigest()


@contextlib.contextmanager
def publish(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` at the end, or vanishes.

    Args:
        path: where the file will be; its folder is made.

    Yields:
        The path to write to. On an exception it is removed, and `path` stays as it was. What a
        process left that was killed is removed by the next one that writes the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    part = unfinished(path)
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def publish_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place at the end, or vanishes.

    Args:
        path: where the folder will be; what is there is replaced as a whole.

    Yields:
        The folder to write to. On an exception it is removed, and `path` stays as it was. What a
        process left that was killed is removed, or put back, by the next one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    part, old = unfinished(path), unfinished(path, "old")
    part.mkdir()
    try:
        yield part
        for file in (path for path in part.rglob("*") if path.is_file()):
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        # a folder cannot replace another one in a single step: put the old one back if that fails
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(part, path)
        except BaseException:
            if not path.exists() and old.exists():
                os.replace(old, path)
            raise
        if old.exists():  # under the other name, since half of it must not be put back
            os.replace(old, part)
    finally:
        remove(part)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, UTF-8, completely or not at all."""
    with publish(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON, completely or not at all; NaN is refused, a missing number is null.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_sealed(path: Path | str, content: Mapping[str, Any]) -> None:
    """As `write_json`, with the checksum of the rest in front, which `read_json` compares.

    Of a manifest that nothing else is made from, nobody else has a checksum.
    """
    body = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)[2:] + "\n"
    before, behind = (part.decode() for part in SEAL)
    write_text(path, f"{before}{hashlib.sha256(body.encode()).hexdigest()}{behind}{body}")


def read_json(path: Path | str) -> Any:
    """Read JSON; what `write_sealed` wrote comes back without its seal.

    Raises:
        UserError: the file is missing, is not JSON, or is sealed and was changed.
    """
    try:
        raw = Path(path).read_bytes()
        content = json.loads(raw.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the workflow again, it makes the file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run again") from None
    if not _seal_holds(raw):
        raise UserError(f"{path} was changed after it was written; delete it and run again")
    if isinstance(content, dict):
        content.pop("seal", None)
    return content


def _seal_holds(raw: bytes) -> bool:
    """Whether the bytes of a file are those that were sealed, or are not sealed at all."""
    wanted = b"".join(SEAL)
    start, end = len(SEAL[0]), len(SEAL[0]) + 64
    found, body = raw[:start] + raw[end : end + len(SEAL[1])], raw[end + len(SEAL[1]) :]
    # sealed if most of it is there: what was changed may be the seal
    if sum(a == b for a, b in zip(found, wanted, strict=False)) < len(wanted) - 2:
        return True
    seal = hashlib.sha256(body).hexdigest().encode()
    return raw == SEAL[0] + seal + SEAL[1] + body


def write_manifest(
    path: Path | str,
    *,
    protocol: Mapping[str, Any],
    inputs: Iterable[Path | str],
    files: Mapping[str, str],
    **content: Any,
) -> None:
    """Write the small JSON that represents an artefact; `content` are the results.

    It holds the checksums of what it was made from and of the files beside it, so it changes
    whenever they do. Times and hosts are left out, so it changes only then.

    Args:
        protocol: what decided the numbers, with the stage's VERSION.
        inputs: manifests it was made from; their checksums are taken.
        files: name -> SHA-256 of the tensors, tables or texts beside the manifest.
    """
    made_from = {str(path): sha256(path) for path in inputs}
    write_sealed(path, {"protocol": protocol, "inputs": made_from, "files": files, **content})


def certified(manifest: Path, name: str) -> Path:
    """A file beside a manifest, once its checksum is found to be the manifest's.

    Whatever reads such a file gets its path here: the date and size of a damaged file can be those
    of the whole one. The file is read once for it, so a job asks once for each file.

    Raises:
        UserError: the manifest does not list the file, or the file is missing or was changed.
    """
    listed = read_json(manifest)["files"]
    if name not in listed:
        raise UserError(f"{manifest} does not list {name}; delete {manifest} and run again")
    return require_sum(beside(manifest, name), listed[name], manifest)


def beside(manifest: Path, path: str) -> Path:
    """A path that a manifest has relative to its folder, in the form that messages can show."""
    return Path(os.path.normpath(manifest.parent / path))


def require_sum(file: Path, wanted: str, manifest: Path | str, mend: str = "delete {}") -> Path:
    """As `certified`, for a file that lies elsewhere, or whose checksum does.

    Args:
        wanted: SHA-256, 64 hex digits.
        manifest: where that stands.
        mend: what to do before the next run; `{}` stands for the manifest.
    """
    if not file.is_file():
        how = f"{mend.format(manifest)} and run again"
        raise UserError(f"{file} is missing, and {manifest} lists it; {how}")
    if sha256(file) != wanted:
        raise changed(file, manifest, mend)
    return file


def changed(file: Path, manifest: Path | str, mend: str = "delete {}") -> UserError:
    """The error for a file whose checksum is not the manifest's; arguments as in `require_sum`."""
    return UserError(
        f"{file} is not what {manifest} says: it was changed or cut after it was written; "
        f"{mend.format(manifest)} and run again"
    )

"""The command `detoxmerge`: merging for people without a workflow."""

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .arguments import operator_params, parse, require_sound
from .errors import UserError, user_sentence

WORTH_SAYING = 1e-4  # share of weights whose change was lost in the cast
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a mistake of the user ends the process with one sentence and status 2.

    Args:
        arguments: of the command line; None for those of the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = parse(words)
    # so that a terminated merge removes what is half-written, as an interrupted one does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _merge(options)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        message = user_sentence(error)
        if message is None and isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}"  # no permission, and the like
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _merge(options: argparse.Namespace) -> None:
    """Check the options, merge, and print what came of it."""
    # a merge has processes of its own; threads of BLAS would wait for work beside them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .merge.merge_model import merge_model

    # all that argparse cannot check, before anything is fetched or read
    params = operator_params(options.operator, options.settings)
    require_sound(options)

    with _progress() as progress:
        record = merge_model(
            _folder(options.base, "--base"),
            [_folder(name, "--fine-tune") for name in options.fine_tunes],
            Path(options.out).expanduser(),
            options.operator,
            params,
            scale=options.scale,
            dtype=options.dtype,
            exclude=options.exclude,
            lines=(*options.lines, None)[:2] if options.lines else None,
            workers=options.workers,
            progress=progress,
        )
    try:
        _print_summary(options, record)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on; the interpreter's own flush must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_summary(options: argparse.Namespace, record: dict[str, Any]) -> None:
    from .merge.merge_model import MANIFEST
    from .models.folder import print_rest

    out = Path(options.out)
    norms = ", ".join(f"{norm:.4g}" for norm in record["shard_l2_norms"])
    print(f"{out}: {options.operator} of {len(options.fine_tunes)}, ", end="")
    print(f"scale {options.scale:g}")
    print(f"L2 norm of the merged vector {record['l2_norm']:.4g}, of the fine-tunes' {norms}")
    lost = record["num_rounded_back"] / max(1, record["num_moved_and_cast"])
    if lost >= WORTH_SAYING:
        print(f"{lost:.2%} of the weights that it moves were rounded back to the base's values")
    print_rest(record)
    print(f"how it was made: {out / MANIFEST}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="weights", unit_scale=True, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _folder(name: str, option: str) -> Path:
    """A local path, or the folder of a hub model after fetching it."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not HUB_ID.fullmatch(name):
        raise UserError(f"{option} {name}: there is no such file or folder")
    from .models.places import download_model

    hub, _, revision = name.partition("@")
    try:
        place = {"hub": hub, "revision": revision or "main"}
        return download_model(place, option, "the hub id by a local folder")
    except UserError as error:
        raise UserError(f"{option} {name}: there is no such folder here, and {error}") from error

"""The command `detoxmerge`: merging for people without a workflow."""

import argparse
import contextlib
import math
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError, nearest, sentence, user_sentence
from .plan.registry import OPERATORS

DESCRIPTION = """
Subtract the merged task vectors of N fine-tunes from their base model:

    theta = theta_0 - scale * operator(theta_1 - theta_0, ..., theta_N - theta_0)

With fine-tunes on N parts of a toxic data set and the operator mean this is the
detoxification of Kim et al. (COLM 2024). The output is a model folder in the dtype
of the base. Weights are streamed: neither a GPU nor the memory for a model is needed.
"""
EXAMPLES = """
examples:
  detoxmerge merge --base gpt2 --fine-tune run1 --fine-tune run2 --scale 1 --out edited
  detoxmerge merge --base llama --fine-tune lora1 --fine-tune lora2 --operator ties \\
      --set density=0.1 --scale 0.5 --exclude embed --dtype bfloat16 --out edited

operators, each with its parameters for --set:
"""
LARGEST = 3.4e38  # of fp32
WORTH_SAYING = 1e-4  # share of weights whose change was lost in the cast
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; ends the process with status 2 and one sentence where the user can mend it.

    Args:
        arguments: of the command line; none: those of the process.
    """
    given = _parser().parse_args(arguments)
    # so that a terminated merge removes what is half-written, as an interrupted one does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _merge(given)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        said = user_sentence(error)
        if said is None and isinstance(error, OSError) and error.filename:
            said = f"{error.filename}: {error.strerror}"  # no permission, and the like
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


class _Once(argparse.Action):
    """Refuses an option that stands twice; argparse keeps the last."""

    def __call__(
        self, parser: argparse.ArgumentParser, given: argparse.Namespace, value: Any, name: Any = ""
    ) -> None:
        if getattr(given, f"_{self.dest}", False):
            parser.error(f"{name} stands there twice; leave one out")
        setattr(given, f"_{self.dest}", True)
        setattr(given, self.dest, value)


class _Merge(argparse.ArgumentParser):
    """Imports the operators only where its help is wanted."""

    def format_help(self) -> str:
        self.epilog = EXAMPLES + "\n".join(map(_told, OPERATORS))
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("detoxmerge", description=DESCRIPTION, formatter_class=plain)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Merge)
    merge = commands.add_parser(
        "merge",
        help="merge fine-tunes of a base model and subtract them from it",
        description=DESCRIPTION,
        formatter_class=plain,
    )
    add = merge.add_argument
    where = "a folder, or a hub id with or without @revision"
    add("--base", required=True, action=_Once, help=f"the model that was fine-tuned: {where}")
    add("--fine-tune", required=True, action="append", dest="fine_tunes", metavar="FINE_TUNE",
        help=f"a fine-tune of it; once for each: {where}; a whole model, a LoRA adapter, or a "
        "delta.safetensors of the workflow")  # fmt: skip
    add("--operator", default="mean", action=_Once, help="how N vectors become one (default: mean)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a parameter of the operator; may be repeated")  # fmt: skip
    add("--scale", required=True, type=float, action=_Once,
        help="lambda: 0 is the base, 1 subtracts the merged vector once, -1 adds it")  # fmt: skip
    add("--exclude", action="append", default=[], metavar="PART",
        help="leave tensors alone whose name contains this; may be repeated")  # fmt: skip
    add("--lines", type=float, nargs="+", metavar=("ALPHA", "BETA"),
        help="LiNeS: scale the merged vector by depth, from ALPHA in the first block to "
        "ALPHA + BETA in the last (default BETA: 1 - ALPHA)")  # fmt: skip
    add("--dtype", choices=["float32", "bfloat16", "float16"],
        help="of the output (default: as the base is stored)")  # fmt: skip
    add("--workers", type=int, default=min(4, os.cpu_count() or 1),
        help="processes that merge (default: %(default)s)")  # fmt: skip
    add("--out", required=True, type=Path, action=_Once, help="folder to make; it must not exist")
    return parser


def _told(name: str) -> str:
    """An operator in the help: what it does, and its parameters with their defaults."""
    module = OPERATORS[name]
    lines = textwrap.wrap(f"{name:15}{module.__doc__.splitlines()[0]}", 88)
    for key, field in module.Params.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        lines += textwrap.wrap(f"{key}: {field.description or ''} ({default})", 69)
    return "\n".join([f"  {lines[0]}", *(f"{'':17}{line}" for line in lines[1:])])


def _merge(given: argparse.Namespace) -> None:
    # a merge has processes of its own; threads of BLAS would wait for work beside them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .merge.merge_model import MANIFEST, merge_model

    params = _params(given.operator, given.settings)
    if given.lines and len(given.lines) > 2:
        raise UserError("--lines takes ALPHA, or ALPHA and BETA")
    if not all(map(math.isfinite, given.lines or [])):
        raise UserError("--lines: finite numbers are wanted")
    if not abs(given.scale) <= LARGEST:
        raise UserError(f"--scale {given.scale:g}: a finite number is wanted, one of fp32")
    places = [os.path.realpath(os.path.expanduser(fine_tune)) for fine_tune in given.fine_tunes]
    twice = [fine_tune for i, fine_tune in enumerate(given.fine_tunes) if places[i] in places[:i]]
    if twice:
        raise UserError(f"--fine-tune {twice[0]} stands there twice; leave one out")
    if given.workers < 1:
        raise UserError(f"--workers {given.workers}: one at least")
    with _progress() as progress:
        found = merge_model(
            _folder(given.base, "--base"),
            [_folder(fine_tune, "--fine-tune") for fine_tune in given.fine_tunes],
            given.out.expanduser(),
            given.operator,
            params,
            scale=given.scale,
            dtype=given.dtype,
            exclude=given.exclude,
            lines=(*given.lines, None)[:2] if given.lines else None,
            workers=given.workers,
            progress=progress,
        )
    try:
        _tell(given, found, given.out / MANIFEST)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on; the interpreter's own flush must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(given: argparse.Namespace, found: dict[str, Any], manifest: Path) -> None:
    norms = ", ".join(f"{norm:.4g}" for norm in found["shard_l2_norms"])
    print(f"{given.out}: {given.operator} of {len(given.fine_tunes)}, scale {given.scale:g}")
    print(f"L2 norm of the merged vector {found['l2_norm']:.4g}, of the vectors {norms}")
    share = found["num_rounded_back"] / max(1, found["num_moved_and_cast"])
    if share >= WORTH_SAYING:
        print(f"{share:.2%} of the weights that it moves were rounded back to the base's values")
    print(f"how it was made: {manifest}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar for somebody who looks."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="weights", unit_scale=True, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _params(operator: str, settings: list[str]) -> Any:
    """The operator's parameters, checked."""
    from pydantic import ValidationError

    if operator not in OPERATORS:
        raise UserError(f"--operator {operator}: no such one; {nearest(operator, OPERATORS)}")
    values = {}
    for setting in settings:
        import yaml

        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write KEY=VALUE")
        if key in values:
            raise UserError(f"--set {key} stands there twice; leave one out")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {setting}: the value is no YAML; check its brackets") from None
    kind = OPERATORS[operator].Params
    try:
        return kind(**values)
    except ValidationError as found:
        errors = (
            sentence(e, f"--set {'.'.join(map(str, e['loc']))}", kind.model_fields, "parameter")
            for e in found.errors()
        )
        raise UserError(f"operator {operator}: " + "; ".join(errors)) from None


def _folder(said: str, option: str) -> Path:
    """A local path, or where the hub's model lies after fetching it."""
    path = Path(said).expanduser()
    if path.exists():
        return path
    if not HUB_ID.fullmatch(said):
        raise UserError(f"{option} {said}: there is no such file or folder")
    from .models.places import download_model

    hub, _, revision = said.partition("@")
    try:
        place = {"hub": hub, "revision": revision or "main"}
        return download_model(place, option, "the hub id by a local folder")
    except UserError as error:
        raise UserError(f"{option} {said}: there is no such folder here, and {error}") from error

"""The command `detoxmerge`: merging for people without a workflow."""

import argparse
import contextlib
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError, nearest, sentence, user_sentence
from .plan.entries import Entry
from .plan.registry import OPERATORS, first_line

DESCRIPTION = """
Subtract the merged task vectors of N fine-tunes from their base model:

    theta = theta_0 - scale * operator(theta_1 - theta_0, ..., theta_N - theta_0)

With fine-tunes on N parts of a toxic data set and the operator mean, this is the
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
HELP_WIDTH = 90
LARGEST = 3.4e38  # of fp32
MAX_WORKERS = 1024
WORTH_SAYING = 1e-4  # share of weights whose change was lost in the cast
FLOAT = "number, such as 0.5, -1 or -1e-3"
WHOLE = "whole number, such as 4"
NUMBERS = ("--scale", "--lines", "--workers")  # options whose values are numbers
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a mistake of the user ends the process with one sentence and status 2.

    Args:
        arguments: of the command line; None for those of the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(_values_apart(words))
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


def _values_apart(words: list[str]) -> list[str]:
    """The words of a command line, with a space before the negative numbers of options.

    Before Python 3.14 argparse takes ``-1e-3``, ``-1.`` and ``-inf`` for options. A word that does
    not begin with a minus is a value, and spaces around a number mean nothing.
    """
    apart, of_numbers = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            of_numbers = len(name) > 2 and any(known.startswith(name) for known in NUMBERS)
            if of_numbers and equals:  # so that --lines=ALPHA BETA has two
                apart.append(name)
                word = value
        # also what is no number: its own sentence says more than "expected one argument"
        is_value = of_numbers and word.startswith("-") and not word.startswith(("--", "-h"))
        apart.append(f" {word}" if is_value else word)
    return apart


def _number(kind: type[float], such_as: str) -> Callable[[str], float]:
    """The type of an option for numbers; argparse's own sentence would name Python's type."""

    def read(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text.strip()}' is no {such_as}") from None

    return read


class _Once(argparse.Action):
    """Refuses an option that is given twice; argparse would keep the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.Namespace,
        value: Any,
        name: str | None = None,
    ) -> None:
        if getattr(options, f"_{self.dest}", False):
            parser.error(f"{name} is given twice; leave one out")
        setattr(options, f"_{self.dest}", True)
        setattr(options, self.dest, value)


class _MergeParser(argparse.ArgumentParser):
    """Imports the operators only when its help is printed."""

    def format_help(self) -> str:
        width = max(map(len, OPERATORS)) + 1
        self.epilog = EXAMPLES + "\n".join(_operator_help(name, width) for name in OPERATORS)
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("detoxmerge", description=DESCRIPTION, formatter_class=plain)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_MergeParser)
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
    add("--scale", required=True, type=_number(float, FLOAT), action=_Once,
        help="lambda: 0 is the base, 1 subtracts the merged vector once, -1 adds it")  # fmt: skip
    add("--exclude", action="append", default=[], metavar="PART",
        help="leave tensors alone whose name contains this; may be repeated")  # fmt: skip
    add("--lines", type=_number(float, FLOAT), nargs="+", action=_Once, metavar=("ALPHA", "BETA"),
        help="LiNeS: scale the merged vector by depth, from ALPHA in the first block to "
        "ALPHA + BETA in the last (default BETA: 1 - ALPHA)")  # fmt: skip
    add("--dtype", choices=["float32", "bfloat16", "float16"], action=_Once,
        help="of the output (default: as the base is stored)")  # fmt: skip
    add("--workers", type=_number(int, WHOLE), action=_Once, default=min(4, os.cpu_count() or 1),
        help="processes that merge (default: %(default)s)")  # fmt: skip
    add("--out", required=True, action=_Once, help="folder to make; it must not exist")
    return parser


def _operator_help(name: str, width: int) -> str:
    """An operator in the help: its name, then what it does and its parameters in a column."""
    module = OPERATORS[name]
    paragraphs = [first_line(module)]
    for key, field in module.Params.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        paragraphs.append(f"{key}: {field.description} ({default})")
    indent = " " * (2 + width)
    wrapped = (
        textwrap.fill(text, HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
        for text in paragraphs
    )
    return f"  {name:{width}}" + "\n".join(wrapped).lstrip()


def _merge(options: argparse.Namespace) -> None:
    """Check the options, merge, and print what came of it."""
    # a merge has processes of its own; threads of BLAS would wait for work beside them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .merge.merge_model import merge_model

    # all that argparse cannot check, before anything is fetched or read
    params = _params(options.operator, options.settings)
    _require_sound(options)

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


def _require_sound(options: argparse.Namespace) -> None:
    """Raise UserError for values that cannot be, and for an output that cannot be made."""
    given = {"--base": [options.base], "--fine-tune": options.fine_tunes,
             "--exclude": options.exclude, "--out": [options.out]}  # fmt: skip
    for option, texts in given.items():
        if not all(text.strip() for text in texts):  # "" would be this folder, or every tensor
            raise UserError(f"{option} '': is empty; is a variable of the shell not set?")
    if options.lines and len(options.lines) > 2:
        raise UserError("--lines takes ALPHA, or ALPHA and BETA")
    if not all(abs(number) <= LARGEST for number in options.lines or []):
        raise UserError("--lines: the numbers must be finite, and of fp32")
    if not abs(options.scale) <= LARGEST:
        raise UserError(f"--scale {options.scale:g}: must be a finite number of fp32")
    paths = [os.path.realpath(os.path.expanduser(name)) for name in options.fine_tunes]
    repeated = [name for i, name in enumerate(options.fine_tunes) if paths[i] in paths[:i]]
    if repeated:
        raise UserError(f"--fine-tune {repeated[0]} is given twice; leave one out")
    if not 1 <= options.workers <= MAX_WORKERS:
        most = f"and {MAX_WORKERS} at most"
        raise UserError(f"--workers {options.workers}: must be 1 or more, {most}")
    out = Path(options.out).expanduser()
    if out.exists() or out.is_symlink():
        raise UserError(f"--out {out} exists already; name a folder that does not")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--out {out}: {above} is a file, so no folder can be made in it")


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


def _params(operator: str, settings: list[str]) -> Entry:
    """The operator's parameters, checked."""
    from pydantic import ValidationError

    if operator not in OPERATORS:
        raise UserError(f"--operator {operator}: unknown operator; {nearest(operator, OPERATORS)}")
    values = {}
    for setting in settings:
        import yaml

        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write KEY=VALUE")
        if key in values:
            raise UserError(f"--set {key} is given twice; leave one out")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {setting}: the value is not YAML; check its brackets") from None
    kind = OPERATORS[operator].Params
    try:
        return kind(**values)
    except ValidationError as error:
        messages = (
            sentence(e, f"--set {'.'.join(map(str, e['loc']))}", kind.model_fields, "parameter")
            for e in error.errors()
        )
        raise UserError(f"operator {operator}: " + "; ".join(messages)) from None


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

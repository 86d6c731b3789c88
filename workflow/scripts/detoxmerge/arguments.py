"""The options of `detoxmerge merge`: how they are written, read and checked."""

import argparse
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UserError, nearest, sentence
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
FLOAT = "number, such as 0.5, -1 or -1e-3"
WHOLE = "whole number, such as 4"
NUMBERS = ("--scale", "--lines", "--workers")  # options whose values are numbers
FORMER = {"--shard": "--fine-tune"}  # names of earlier versions


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a command line, of the right types; ends the process if they are not.

    Args:
        words: of the command line, without the command's name.
    """
    return _parser().parse_args(_values_apart(words))


def _values_apart(words: list[str]) -> list[str]:
    """The words of a command line by today's names, with a space before negative numbers.

    Before Python 3.14 argparse takes ``-1e-3``, ``-1.`` and ``-inf`` for options. A word that does
    not begin with a minus is a value, and spaces around a number mean nothing.
    """
    apart, of_numbers = [], False
    for word in words:
        name, equals, value = word.partition("=")
        if name in FORMER:
            word = FORMER[name] + word[len(name) :]
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


def require_sound(options: argparse.Namespace) -> None:
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


def operator_params(operator: str, settings: list[str]) -> Entry:
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

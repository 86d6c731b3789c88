"""What adapter_config.json says, and whether B A is then all that an adapter changes."""

import json
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from .parameter_names import layer_of

CONFIG = "adapter_config.json"
# `init_lora_weights` that are known to leave the base's weights as they are: PEFT takes something
# off them for all others (pissa, olora, corda, loftq, lora_ga in PEFT 0.21)
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
# keys of the config that decide nothing once the factors are trained, or that the tensors show
KNOWN = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
        "eva_config", "fan_in_fan_out", "inference_mode", "layers_pattern", "loftq_config",
        "lora_dropout", "lora_ga_config", "megatron_core", "merge_weights", "modules_to_save",
        "parent_library", "peft_version", "qalora_group_size", "revision", "runtime_config",
        "task_type",
    }
)  # fmt: skip
# these are read
READ = frozenset(
    {
        "alpha_pattern", "exclude_modules", "init_lora_weights", "layers_to_transform",
        "lora_alpha", "peft_type", "r", "rank_pattern", "target_modules", "use_rslora",
    }
)  # fmt: skip
# of which only the value that switches it off is understood
SWITCHES = {
    "alora_invocation_tokens": "acts on part of the tokens",
    "arrow_config": "mixes several adapters",
    "kasa_config": "scales by singular values",
    "layer_replication": "repeats layers of the base",
    "lora_bias": "has biases in its factors",
    "monteclora_config": "draws its factors anew",
    "target_parameters": "changes parameters that are no layers",
    "trainable_token_indices": "trained the embeddings of single tokens",
    "use_bdlora": "has factors in blocks",
    "use_dora": "is a DoRA, which also scales",
    "use_qalora": "has factors of pooled inputs",
    "velora_config": "trains by compressed activations",
    "megatron_config": "belongs to layers of Megatron",
}
MERGE_IT = "merge it into its model with PEFT's merge_and_unload, and name that"


def read_adapter_config(path: Path) -> dict[str, Any]:
    """The config of an adapter whose product is all that it changes."""
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); fetch it again") from None
    if not isinstance(config, dict):
        raise UserError(f"{file} is not the config of an adapter; fetch it again")
    _require_plain(path, config)
    _require_numbers(file, config, "lora_alpha", "alpha_pattern")
    # the rank may be left out, as the factors show it
    _require_numbers(file, {"r": 1} | config, "r", "rank_pattern")
    for key in ("target_modules", "exclude_modules", "layers_to_transform"):
        if not _are_names(config.get(key), int if key == "layers_to_transform" else str):
            raise UserError(f"{file}: {key} is none of what PEFT takes for it; fetch it again")
    return config


def _are_names(value: Any, kind: type) -> bool:
    """Whether a value is missing, of a kind, or a list of that kind."""
    whole = isinstance(value, list) and all(isinstance(one, kind) for one in value)
    return value is None or isinstance(value, kind) or whole


def _require_numbers(file: Path, config: dict[str, Any], key: str, pattern: str) -> None:
    patterns = config.get(pattern) or {}
    if not isinstance(patterns, dict) or not all(map(_is_pattern, patterns)):
        raise UserError(
            f"{file}: {pattern} is no mapping of names' ends to numbers; fetch it again"
        )
    if not all(map(_is_number, [config.get(key), *patterns.values()])):
        raise UserError(f"{file}: {key} or {pattern} is not a number; fetch it again")


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole and abs(value) < 1e30


def _is_pattern(text: str) -> bool:
    try:
        re.compile(rf"(.*\.)?({text})$")
    except re.error:
        return False
    return True


def pattern_value(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """What a config says for a module: the first pattern that is the end of its name, or a default.

    Args:
        patterns: regular expressions -> values, as in `alpha_pattern`.
    """
    matching = (
        value for end, value in (patterns or {}).items() if re.match(rf"(.*\.)?({end})$", module)
    )
    return next(matching, default)


def require_rank(path: Path, config: dict[str, Any], module: str, rank: int) -> None:
    """Raise UserError if the config says another rank than the factors have."""
    stated = pattern_value(config.get("rank_pattern"), module, config.get("r"))
    if stated is not None and stated != rank:
        raise UserError(
            f"{path}: module '{module}' has rank {rank} in its file, and {stated} by its config; "
            "fetch it again"
        )


def require_named(path: Path, config: dict[str, Any], module: str) -> None:
    """Raise UserError if PEFT would not load the factors of a module, by the config."""
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    left_out = config.get("exclude_modules")
    named = targets in (None, "all-linear") or _names(targets, module)
    if layers is not None and layers != []:
        numbers = [layers] if isinstance(layers, int) else layers
        named = named and layer_of(module) in numbers
    if not named or (left_out and _names(left_out, module)):
        raise UserError(
            f"{path} has factors of '{module}', which its config does not name (target_modules, "
            "exclude_modules, layers_to_transform), so that PEFT leaves them out; fetch it again"
        )


def _names(given: Any, module: str) -> bool:
    """Whether a regular expression, or one of several ends of names, is a module's."""
    if isinstance(given, str):
        return _is_pattern(given) and re.fullmatch(given, module) is not None
    return any(module == end or module.endswith(f".{end}") for end in given)


def _require_plain(path: Path, config: dict[str, Any]) -> None:
    """Raise UserError at the first key of a config that is not known to leave B A alone."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{path} is no LoRA adapter (peft_type {kind}); {MERGE_IT}")
    for key, value in config.items():
        if key in SWITCHES and value not in (None, False, [], {}):
            raise UserError(f"{path} {SWITCHES[key]} ({key}); {MERGE_IT}")
        # an option that is not set decides nothing, whatever it is
        if key not in KNOWN | READ | SWITCHES.keys() and value not in (None, [], {}):
            raise UserError(
                f"{path / CONFIG} has the key '{key}' ({json.dumps(value)[:60]}), which may "
                f"decide what the adapter does, and is not known here; {MERGE_IT}"
            )
    start = config.get("init_lora_weights", True)
    if not (start in (True, False, None) or str(start).lower() in PLAIN_STARTS):
        raise UserError(
            f"{path} was initialised by init_lora_weights {start}, which may change the base too; "
            "save it converted to a plain LoRA (PEFT's path_initial_model_for_weight_conversion), "
            f"or {MERGE_IT}"
        )

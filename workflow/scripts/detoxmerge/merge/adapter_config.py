"""What adapter_config.json says, and whether B A is then all that an adapter changes."""

import json
from pathlib import Path
from typing import Any

from ..errors import UserError

CONFIG = "adapter_config.json"
# `init_lora_weights` that are known to leave the base's weights as they are: PEFT takes something
# off them for all others (pissa, olora, corda, loftq, lora_ga in PEFT 0.21)
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
# keys of the config that decide nothing once the factors are trained, or that the tensors show
KNOWN = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
        "eva_config", "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform",
        "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save",
        "parent_library", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
        "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
# these are read
READ = frozenset(
    {
        "alpha_pattern", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "peft_type",
        "use_rslora",
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
    patterns = config.get("alpha_pattern") or {}
    alphas = [config.get("lora_alpha"), *(patterns.values() if isinstance(patterns, dict) else [])]
    numbers = all(isinstance(a, int | float) and not isinstance(a, bool) for a in alphas)
    if not numbers or not isinstance(patterns, dict):
        raise UserError(f"{file}: lora_alpha or alpha_pattern is not a number; fetch it again")
    return config


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

"""What the processes of one training have to agree on; a single process agrees with itself.

The model's weights, gradients and optimizer states are spread over the processes by accelerate
(FSDP2, PyTorch's fully_shard); each step's texts are spread over them too.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType, broadcast_object_list

FSDP = {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"}}


def num_processes() -> int:
    """Processes of this training, as `accelerate launch` counts them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes what all of them make."""
    return int(os.environ.get("RANK", "0")) == 0


def fsdp_arguments() -> Mapping[str, Any]:
    """What TrainingArguments needs to spread a model over the processes."""
    return FSDP if num_processes() > 1 else {}


def spread_over_cpus() -> None:
    """Let accelerate spread a model over CPU processes (gloo).

    It does so for kinds of accelerators only, and has no kind for CPUs; the code behind a kind asks
    for the device itself, so any kind will do. Called between TrainingArguments and Trainer.
    """
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def first_says(value: Any) -> Any:
    """The first process's value (picklable): what depends on a clock or a disk must not differ."""
    return broadcast_object_list([value])[0] if num_processes() > 1 else value


def wait_for_all() -> None:
    """Return when every process has got here."""
    if num_processes() > 1:
        torch.distributed.barrier()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a parameter, detached; where it is spread over processes, all must call this."""
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    return tensor.detach()

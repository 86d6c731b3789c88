"""An edit that is a trained model: theta = theta_0 + scale * (theta' - theta_0)."""

from pathlib import Path
from typing import Any

from ..merge.task_vectors import DELTA
from .finetune import train_delta
from .job import Job
from .resumable import LOSS


def trained_edit(base: Path, texts: list[str], job: Job, *, sign: int = 1) -> dict[str, Any]:
    """Train the base on texts by the job's recipe, as a shard is trained.

    Args:
        base: manifest of the base model.
        texts: in the order that the seed's permutations start from.
        job: its folder gets `delta.safetensors`, fp32, `loss.csv`, and checkpoints on the way.
        sign: -1 to go up the loss, not down.

    Returns:
        The edit's verb and fields; `training` has the number of texts and tokens, the loss at both
        ends, and the checksum of the loss history.

    Raises:
        UserError: no text can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    found = train_delta(base, texts, job, sign=sign)
    files, norm = found.pop("files"), found.pop("l2_norm")
    print(f"{found['num_texts']} texts, loss {found['first_loss']:.4g} -> {found['last_loss']:.4g}")
    tensors = {"file": DELTA, "sha256": files[DELTA], "l2_norm": norm}
    history = {"file": LOSS, "sha256": files[LOSS]}
    return {
        "sign": 1,
        "tensors": tensors,
        "training": found | {"loss": history},
    }

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
        texts: the seed permutes them from this order.
        job: with the recipe; its folder gets `delta.safetensors`, fp32, and `loss.csv`.
        sign: -1 to go up the loss, not down.

    Returns:
        The fields that `build` returns; `training` has the number of texts and tokens, the loss at
        both ends, and the checksum of the loss history.

    Raises:
        UserError: no text can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    result = train_delta(base, texts, job, sign=sign)
    if result is None:
        raise ValueError("an edit is trained in one process")
    files, norm = result.pop("files"), result.pop("l2_norm")
    first, last = result["first_loss"], result["last_loss"]
    print(f"{result['num_texts']} texts, loss {first:.4g} -> {last:.4g}")
    tensors = {"file": DELTA, "sha256": files[DELTA], "l2_norm": norm}
    history = {"file": LOSS, "sha256": files[LOSS]}
    return {
        "sign": 1,
        "tensors": tensors,
        "training": result | {"loss": history},
    }

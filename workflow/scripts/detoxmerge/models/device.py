"""Where a job computes."""

import torch

from ..errors import UserError


def pick_device(asked: str) -> str:
    """The device that a job runs on, for ``auto``, ``cpu`` or ``cuda``.

    Returns:
        ``cpu`` or ``cuda``; ``auto`` is a GPU where there is one, and the log says which.

    Raises:
        UserError: ``cuda`` was asked for and there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if asked == "cuda" and not has_gpu:
        raise UserError(
            "`device: cuda` was asked for, and PyTorch sees no GPU on this machine; set "
            "`device: cpu` in the config, or run where there is one"
        )
    device = "cuda" if asked == "cuda" or (asked == "auto" and has_gpu) else "cpu"
    print(f"device: {device}, threads: {torch.get_num_threads()}")
    return device

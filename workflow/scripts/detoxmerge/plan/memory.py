"""How much host memory training and measuring take, in MB (1e6 bytes).

P is the number of weights, a token is one place of a batch; benchmarks/resources.py measures it.

memory   = SOFTWARE + weights + activations
  training on a CPU    24 P: weights, theta_0, gradients, AdamW's two moments, a checkpoint's copy
  training on a GPU    12 P of the host: weights, theta_0, a checkpoint's copy
  several processes    these 24 P or 12 P are shared; each loads 4 P, and theta_0 takes 4 P once
  exporting            12 P: base and edited model, and thrice the largest tensor (4 P at the most)
  measuring             8 P: the base in fp32, and a tensor of the edit, or a copy in its dtype;
                       on a CPU a batch and two slices of logits in fp32 (models.likelihood)
  activations (CPU)    ACTIVATION sqrt(P) bytes per token when training, a tenth of it without
                       gradients; plus what the logits take: 12 bytes per token and vocabulary
                       item when training, 4 for each copy of a position's without gradients
  batch_size: auto     a batch takes CPU_BUDGET, or what a single row does
"""

import math

from .batch_size import CPU_BUDGET, MOST_ROWS, BatchSize
from .training import Recipe

SOFTWARE_MB = {"cpu": 1500, "cuda": 4000}  # two Snakemakes, the libraries; CUDA's own on the host
LARGEST_VOCABULARY = 262_144  # Gemma's
SLICES_MB = 140  # two of models.likelihood
ACTIVATION = 110.0  # bytes per sqrt(weight) and token: GPT-2 small 1.2 MB, Llama-2-7B 9 MB


def training_mb(
    device: str, weights: int, tokens: int, vocabulary: int, share: float = 1.0
) -> float:
    """Host memory of one process that trains, in MB.

    Args:
        tokens: of one batch, padding included.
        vocabulary: items of the logits.
        share: the part of the weights and states that this process holds.
    """
    if device == "cuda":
        return SOFTWARE_MB["cuda"] + 12 * share * weights / 1e6
    per_token = ACTIVATION * math.sqrt(weights) + 12 * vocabulary
    return SOFTWARE_MB["cpu"] + (24 * share * weights + tokens * per_token) / 1e6


def finetune_mb(
    device: str, weights: int, recipe: Recipe, vocabulary: int = LARGEST_VOCABULARY
) -> float:
    """Host memory that one fine-tune takes on each of its nodes, in MB.

    Each of several processes loads the whole model before it keeps its share; the first one also
    holds theta_0.

    Args:
        vocabulary: items of the logits.
    """
    vocabulary = min(vocabulary, math.ceil(weights / 100))  # an embedding is wider than that
    tokens = recipe.batch_size * recipe.max_tokens
    if recipe.strategy is None:
        return training_mb(device, weights, tokens, vocabulary)
    each = training_mb(device, weights, tokens, vocabulary, 1 / recipe.processes)
    return recipe.processes // recipe.nodes * (each + 4 * weights / 1e6) + 4 * weights / 1e6


def measure_mb(
    device: str,
    weights: int,
    batch_size: BatchSize,
    tokens: int,
    logits: int = 1,
    passes: float = 1,
) -> float:
    """Host memory of one process that only runs the model, in MB.

    Args:
        tokens: of a row, padding included.
        logits: copies of the logits of one position that a row takes, 4 bytes per item each.
        passes: forward passes that an edit makes for one of the base, each with a batch.
    """
    memory = SOFTWARE_MB[device] + 8 * weights / 1e6 + 500
    if device != "cpu":
        return memory
    row = row_bytes(weights, tokens, logits)
    batch = max(CPU_BUDGET, row) if batch_size == "auto" else batch_size * row
    return memory + passes * batch / 1e6 + SLICES_MB


def rows_planned(batch_size: BatchSize, weights: int, tokens: int, logits: int) -> int:
    """Rows that surely run at a time, for the time that they take."""
    if batch_size != "auto":
        return batch_size
    room = int(CPU_BUDGET / row_bytes(weights, tokens, logits))
    return max(1, min(MOST_ROWS["cpu"], room))


def row_bytes(weights: int, tokens: int, logits: int) -> float:
    """What a row takes at the most without gradients; arguments as of `measure_mb`."""
    vocabulary = min(LARGEST_VOCABULARY, math.ceil(weights / 100))  # an embedding is wider
    return tokens * ACTIVATION * math.sqrt(weights) / 10 + 4 * logits * vocabulary

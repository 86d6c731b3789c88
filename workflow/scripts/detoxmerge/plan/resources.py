"""What each job asks a machine for: memory in MB (1e6 bytes) and minutes, from model and data.

P is the number of weights, a token is one place of a batch. All are upper bounds for the usual
case, times Snakemake's `attempt`: a job that ran out of memory or time gets more the next time,
and training and measuring go on where they were. benchmarks/resources.py measures the memory.

memory   by memory.py
minutes  = START + 2 * work / speed
  training             6 P FLOP per token (Kaplan et al. 2020, arXiv 2001.08361), 8 P if
                       activations are computed twice
  perplexity           2 P FLOP per token of each window
  fluency              2 P FLOP of the judge per token of a prompt and its continuation
  generating           per step of a batch: the weights read once, or 2 P FLOP per row, whichever
                       takes longer, and OVERHEAD of the library; each as often as a method's
                       forwards() says
  an edit's own        one that trains as a shard of all texts, on a GPU; one that is fitted as
                       measuring, on FIT_TEXTS texts
  merging              bytes of all shards, as often as the operator reads them
  parameter change     bytes of the vector read twice
  shard statistics     bytes of all shards read twice, and N PER_SHARD + N^2 PER_PAIR per weight
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .batch_size import SAMPLING_COPIES
from .config import Config
from .grid import Grid
from .local import expand_path
from .memory import (
    LARGEST_VOCABULARY,
    SOFTWARE_MB,
    finetune_mb,
    measure_mb,
    rows_planned,
    training_mb,
)
from .registry import METHODS, forwards, operator_of, training_recipe

SCORER_MB = 3000  # Detoxify's largest while it is loaded
FLOP_PER_SECOND = {"cpu": 2e10, "cuda float32": 1e13, "cuda bfloat16": 4e13}
BYTES_PER_SECOND = {"cpu": 5e9, "cuda": 5e11}  # of memory; a disk counts DISK
DISK = 1e8
OVERHEAD = 0.05  # seconds per generated token and batch
START_MINUTES = 15
PER_SHARD, PER_PAIR = 4e-8, 6e-9  # seconds per weight; measured with 2 to 20 shards
CHARACTERS_PER_TOKEN = 3.0
PROMPT_TOKENS = 64  # of a prompt with its prefix
FIT_TEXTS = 2_000
MANY_PROMPTS = 100_000  # where the config does not say: all of RealToxicityPrompts


class Need(NamedTuple):
    """What one attempt of a job asks for."""

    mem_mb: int
    runtime: int  # minutes


class Needs:
    """The needs of every rule whose cost depends on model and data.

    Sizes are read from the manifests that are a rule's inputs. Until they exist, the methods raise
    FileNotFoundError, which Snakemake shows as <TBD>; it asks again when the job is sent.
    """

    def __init__(self, config: Config) -> None:
        """Take a checked config."""
        self.config, self.grid = config, Grid(config)
        self.device = "cpu" if config.device == "cpu" else "cuda"

    def mem_mb(self, rule: str) -> Callable[[Any, Any, int], int]:
        """A resource function for a rule: MB, times the attempt."""
        return lambda wildcards, input, attempt: (
            getattr(self, rule)(wildcards, input).mem_mb * attempt
        )

    def runtime(self, rule: str) -> Callable[[Any, Any, int], int]:
        """A resource function for a rule: minutes, times the attempt."""
        return lambda wildcards, input, attempt: (
            getattr(self, rule)(wildcards, input).runtime * attempt
        )

    def pretrain_base(self, wildcards: Any, input: Any) -> Need:
        """A small base model: P = 12 layers width^2 + vocabulary width; texts are in memory."""
        p = self.config.models[wildcards.model].pretraining()
        weights = 12 * p.layers * p.width**2 + (p.vocabulary + p.context) * p.width
        tokens = p.batch_size * p.context
        flop = 6 * weights * p.steps * tokens
        memory = training_mb(self.device, weights, tokens, p.vocabulary) + _texts_mb(input.raw)
        return self._need(memory, flop / self._speed(p.precision))

    def train_scorer(self, wildcards: Any, input: Any) -> Need:
        """A small BERT; texts and tokens in memory."""
        t = self.config.scorers[wildcards.scorer].value
        weights = 12 * t.layers * t.width**2 + (t.vocabulary + t.max_tokens) * t.width
        memory = training_mb(self.device, weights, t.batch_size * t.max_tokens, 1)
        rows = 1e4 * (10 + sum(_megabytes(path) for path in input.raw))  # 100 bytes a text
        flop = 6 * weights * rows * t.max_tokens * t.epochs
        return self._need(memory + _texts_mb(input.raw), flop / self._speed("float32"))

    def finetune_shard(self, wildcards: Any, input: Any) -> Need:
        """Full fine-tuning on 1/N of the toxic texts, each at most `max_tokens` long."""
        recipe = self.config.recipes[wildcards.recipe]
        weights = num_weights(input.base)
        rows = math.ceil(_read(input.dataset)["counts"]["num_toxic"] / int(wildcards.n))
        flop_per_token = (8 if recipe.gradient_checkpointing else 6) * weights
        work = flop_per_token * rows * recipe.max_tokens * recipe.epochs
        memory = finetune_mb(self.device, weights, recipe, vocabulary(input.base))
        return self._need(memory, work / self._speed(recipe.precision) / recipe.processes)

    def merge_edit(self, wildcards: Any, input: Any) -> Need:
        """Streams, so memory does not depend on the model; some operators read more than once.

        Factors of adapters are held in fp64.
        """
        operator = operator_of(wildcards.method, self.grid.find(wildcards).params)
        reads = getattr(operator, "READS", 1)
        seconds = 4 * num_weights(input.base) * (reads * len(input.manifests) + 1) / DISK
        pattern = self.grid.paths.given_finetune
        tunes = [_read(p) for p in input.manifests if self.grid.paths.wildcards(pattern, p)]
        held = sum(tune["num_elements"] for tune in tunes if tune["kind"] == "adapter")
        return self._need(2000 + 8 * held / 1e6, seconds)

    def train_edit(self, wildcards: Any, input: Any) -> Need:
        """Full fine-tuning by a method that trains: at most on all texts of the data set."""
        edit = self.grid.find(wildcards)
        recipe = self.config.recipes[training_recipe(edit.method, edit.params)]
        weights = num_weights(input.base)
        counts = [_read(path).get("counts", {}) for path in input.manifests]
        rows = max(max(c.get("num_toxic", 0), c.get("num_nontoxic_kept", 0)) for c in counts)
        rows = rows or MANY_PROMPTS
        flop_per_token = (8 if recipe.gradient_checkpointing else 6) * weights
        work = flop_per_token * rows * recipe.max_tokens * recipe.epochs
        memory = finetune_mb(self.device, weights, recipe, vocabulary(input.base))
        return self._need(memory, work / self._speed(recipe.precision))

    def fit_edit(self, wildcards: Any, input: Any) -> Need:
        """Runs the model on some texts, and holds a tensor or two of it in fp64."""
        weights = num_weights(input.base)
        work = 2 * weights * FIT_TEXTS * PROMPT_TOKENS / self._speed("float32")
        memory = measure_mb(self.device, weights, 32, PROMPT_TOKENS) + 16 * weights / 1e6
        return self._need(memory, work + self._load(weights))

    def shard_statistics(self, wildcards: Any, input: Any) -> Need:
        """Streams all shards, once for their checksums, and averages subsets of them."""
        weights, n = num_weights(input.base), len(input.manifests)
        work = weights * n * (PER_SHARD + PER_PAIR * n)
        return self._need(2000, 2 * 4 * weights * n / DISK + work)

    def parameter_change(self, wildcards: Any, input: Any) -> Need:
        """Streams one vector, once for its values and once for its checksum."""
        return self._need(2000, 2 * sum(map(os.path.getsize, input.tensors)) / DISK)

    def export_model(self, wildcards: Any, input: Any) -> Need:
        """Base, vector and folder are read or written some ten times, a text is run four times."""
        weights = num_weights(input.base)
        work = 10 * self._load(weights) + 8 * weights * 100 / FLOP_PER_SECOND["cpu"]
        return self._need(SOFTWARE_MB["cpu"] + 12 * weights / 1e6, work)

    def generate(self, wildcards: Any, input: Any) -> Need:
        """Every prompt, sample and scale; fewer where the sweep leaves some out."""
        weights = num_weights(input.base)
        scales = self.grid.scales_of_edit(wildcards.edit)
        count = _read(input.prompts)["counts"]["num_prompts"]
        return self._sampling(weights, wildcards, wildcards.prompts, count, scales)

    def measure_cost(self, wildcards: Any, input: Any) -> Need:
        """A few prompts, a few times, by the edited model and by the base."""
        alias, scale = self.config.run.sweep.prompts[0], self.grid.cost_scale(wildcards.edit)
        protocol = self.grid.protocol.cost(wildcards.model, scale)
        scales = ["0", scale] * (protocol["rounds"] + 1)
        weights, count = num_weights(input.base), protocol["num_prompts"]
        return self._sampling(weights, wildcards, alias, count, scales)

    def _sampling(
        self, weights: int, wildcards: Any, prompts: str, count: int, scales: list[str]
    ) -> Need:
        """K continuations of `count` prompts, once per scale."""
        g = self.config.prompts[prompts].generate
        tokens, logits = g.new_tokens + PROMPT_TOKENS, SAMPLING_COPIES
        rows = rows_planned(g.batch_size, weights, tokens, logits)
        steps = math.ceil(count * g.samples / rows) * g.new_tokens
        per_step = OVERHEAD + max(
            4 * weights / BYTES_PER_SECOND[self.device],
            2 * weights * rows / self._speed("float32"),
        )
        passes, more, each = self._passes(wildcards, scales, weights)
        memory = measure_mb(self.device, weights, g.batch_size, tokens, logits, each)
        return self._need(memory + more, steps * per_step * passes + self._load(weights))

    def _passes(
        self, wildcards: Any, scales: list[str], weights: int, *, sampled: bool = True
    ) -> tuple[float, float, float]:
        """Forward passes per token, over all scales, MB that an edit adds to the base, and passes.

        The latter are those of one batch that are made at once: of the base and its helpers.
        """
        edit = None if wildcards.edit == "base" else self.grid.find(wildcards)
        verb = METHODS[edit.method].VERB if edit else "none"
        if edit is None or (verb == "choose" and not sampled):
            return float(len(scales)), 0, 1
        helpers = len(self.grid.tensors_of(edit)) if verb == "logits" else 0  # each a whole model
        memory = (SCORER_MB if verb == "choose" else 0) + 4 * weights * helpers / 1e6
        passes = [forwards(edit.method, edit.params, float(s)) for s in scales]
        return sum(passes), memory, max(passes) if verb == "logits" else 1

    def measure_perplexity(self, wildcards: Any, input: Any) -> Need:
        """Every window and scale."""
        corpus = self.config.corpora[wildcards.corpus]
        weights = num_weights(input.base)
        window = corpus.window_tokens or 4096
        tokens = _read(input.corpus)["counts"]["num_characters"] / CHARACTERS_PER_TOKEN
        flop = 2 * weights * tokens * window / min(corpus.stride_tokens, window)
        scales = self.grid.scales_of_edit(wildcards.edit)
        passes, more, each = self._passes(wildcards, scales, weights, sampled=False)
        memory = measure_mb(self.device, weights, corpus.batch_size, window, window, each)
        return self._need(
            memory + more, flop / self._speed("float32") * passes + self._load(weights)
        )

    def score_toxicity(self, wildcards: Any, input: Any) -> Need:
        """Detoxify's largest, 280 million weights, half of them an embedding; short texts.

        A batch (`auto`: CPU_BUDGET) takes less than what is freed when the scorer is loaded.

        It may run in the SLURM job that makes its texts, so the config tells how many there are.
        """
        tokens = 2 * self.config.prompts[wildcards.prompts].generate.new_tokens
        flop = 2 * 1.4e8 * tokens * self._texts(wildcards)
        return self._need(SOFTWARE_MB[self.device] + SCORER_MB, flop / self._speed("float32"))

    def measure_fluency(self, wildcards: Any, input: Any) -> Need:
        """Every continuation with its prompt, by the judge; the texts may be yet to come, too."""
        g = self.config.prompts[wildcards.prompts].generate
        weights, tokens = num_weights(input.judge), PROMPT_TOKENS + g.new_tokens
        flop = 2 * weights * tokens * self._texts(wildcards)
        memory = measure_mb(self.device, weights, g.batch_size, tokens, g.new_tokens + 1)
        return self._need(memory, flop / self._speed("float32") + self._load(weights))

    def _texts(self, wildcards: Any) -> int:
        entry = self.config.prompts[wildcards.prompts]
        sized = entry.sample or entry.generated
        prompts = sized.rows if sized else MANY_PROMPTS
        return prompts * entry.generate.samples * self._scales(wildcards)

    def _scales(self, wildcards: Any) -> int:
        return len(self.grid.scales_of_edit(wildcards.edit))

    def _load(self, weights: int) -> float:
        return 4 * weights / DISK

    def _speed(self, precision: str) -> float:
        return FLOP_PER_SECOND["cpu" if self.device == "cpu" else f"cuda {precision}"]

    def _need(self, memory_mb: float, seconds: float) -> Need:
        rounded = 100 * math.ceil(memory_mb / 100)
        return Need(rounded, START_MINUTES + math.ceil(2 * seconds / 60))


def vocabulary(base: str) -> int:
    """Items of a base model's logits, by its folder; of one of the hub an upper bound."""
    folder = _read(base)["model"].get("path")
    file = folder and Path(expand_path(folder)) / "config.json"
    if not file or not file.is_file():
        return LARGEST_VOCABULARY
    config = _read(str(file))
    return config.get("text_config", config).get("vocab_size", LARGEST_VOCABULARY)


def num_weights(base: str) -> int:
    """P of a base model, by its manifest."""
    return _read(base)["num_parameters_stored"]


def _texts_mb(raw: list[str]) -> float:
    """Texts and token lists of a training set: 30 times the (compressed) files, 1 GB at least."""
    return 1000 + 30 * sum(_megabytes(path) for path in raw)


def _megabytes(path: str) -> float:
    return os.path.getsize(path) / 1e6


def _read(path: str) -> Any:
    # not artefacts.read_json: Snakemake knows a file that is yet to come by FileNotFoundError
    with open(path, encoding="utf-8") as file:
        return json.load(file)

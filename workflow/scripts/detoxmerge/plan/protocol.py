"""What decides the numbers of each stage: the params of its rule, recorded in its manifest.

A rule's params and the check in `summarise` come from here, so a measurement whose recorded
protocol is not the configured one is found even where Snakemake has lost its own records.
"""

from typing import Any

from pydantic import BaseModel

from .config import Config
from .entries import protocol
from .registry import METHODS, operator_of, recipe_of, scorer_of

# Bump a number when the stage's numbers change, with a line in the changelog.
VERSION = {
    "fetch_model": 1,
    "fetch_finetune": 1,
    "pretrain_base": 2,
    "fetch_scorer": 1,
    "train_scorer": 2,
    "prepare_dataset": 1,
    "split_dataset": 1,
    "prepare_prompts": 1,
    "prepare_corpus": 1,
    "finetune_shard": 2,
    "generate": 3,
    "score_toxicity": 2,
    "measure_fluency": 2,
    "measure_perplexity": 3,
    "parameter_change": 2,
    "measure_cost": 1,
    "shard_statistics": 1,
    "select_scale": 1,
    "summarise": 4,
    "plot": 6,
    "export_model": 1,
}


class Protocol:
    """Plain JSON values per stage and alias, each with the stage's VERSION."""

    def __init__(self, config: Config) -> None:
        """Take a checked config."""
        self.config = config

    def _of(self, stage: str, **values: Any) -> dict[str, Any]:
        return {"version": VERSION[stage], **values}

    def dataset(self, alias: str) -> dict[str, Any]:
        """Source, fields and thresholds of a data set."""
        return self._of("prepare_dataset", **protocol(self.config.datasets[alias]))

    def partition(self) -> dict[str, Any]:
        """The partition seed; N and the data set are in the path."""
        return self._of("split_dataset", seed=self.config.split.seed)

    def prompts(self, alias: str) -> dict[str, Any]:
        """Source of a prompt set; how it is continued belongs to `generate`."""
        return self._of(
            "prepare_prompts", **protocol(self.config.prompts[alias], without=("generate",))
        )

    def corpus(self, alias: str) -> dict[str, Any]:
        """Source of a corpus; how it is measured belongs to `measure_perplexity`."""
        entry = self.config.corpora[alias]
        without = ("window_tokens", "stride_tokens")
        return self._of("prepare_corpus", **protocol(entry, without=without))

    def pretrained(self, alias: str) -> dict[str, Any]:
        """Texts, shape and training of a base model made here."""
        return self._of("pretrain_base", **protocol(self.config.models[alias].pretraining()))

    def base(self, alias: str) -> dict[str, Any]:
        """Where a base model comes from."""
        return self._of("fetch_model", **self.config.models[alias].place())

    def given_finetune(self, model: str, index: int) -> dict[str, Any]:
        """Where a fine-tune made elsewhere comes from."""
        return self._of("fetch_finetune", **self.config.models[model].fine_tunes[index].place())

    def scorer(self, alias: str) -> dict[str, Any]:
        """Where a scorer comes from, or how it is trained."""
        entry = self.config.scorers[alias]
        return self._of(entry.rule, **entry.protocol())

    def shard(self, recipe: str) -> dict[str, Any]:
        """The fine-tuning recipe; model, data set, N, shard and seed are in the path."""
        return self._of("finetune_shard", **protocol(self.config.recipes[recipe]))

    def edit(self, method: str, params: BaseModel) -> dict[str, Any]:
        """The VERSION of the method, and of its operator; the parameters are in the path.

        A method that trains adds the recipe that they name, and one that chooses among samples the
        label that is read of its scorer.
        """
        operator = operator_of(method, params)
        values: dict[str, Any] = {"operator_version": operator.VERSION} if operator else {}
        recipe, scorer = recipe_of(method, params), scorer_of(method, params)
        if recipe is not None and METHODS[method].KIND == "train":
            values["recipe"] = protocol(self.config.recipes[recipe])
        if scorer is not None:
            values["label"] = self.config.scorers[scorer].label
        return {"version": METHODS[method].VERSION} | values

    def generate(self, model: str, prompts: str, edit: str = "base") -> dict[str, Any]:
        """The sampling protocol of a prompt set, and the dtype of the weights.

        Of an edit in the sweep also `within`, if there is a limit: it decides which scales are
        sampled, and no text.
        """
        entry = self.config.prompts[prompts].generate
        values = {"dtype": self.config.models[model].dtype, **protocol(entry)}
        sweep = self.config.run.sweep
        if sweep.within and edit != "base" and prompts in sweep.prompts:
            values["within"] = {**protocol(sweep.within), "corpora": sweep.corpora}
        return self._of("generate", **values)

    def toxicity(self, scorer: str) -> dict[str, Any]:
        """The label that is read; thresholds are applied when the study is summarised."""
        return self._of("score_toxicity", label=self.config.scorers[scorer].label)

    def fluency(self, model: str) -> dict[str, Any]:
        """Who judges a model's edits (none: its own base), and the dtype of the judge's weights."""
        run = self.config.run
        dtype = self.config.models[run.judge_of(model)].dtype
        return self._of("measure_fluency", judge=run.fluency_judge, dtype=dtype)

    def perplexity(self, model: str, corpus: str) -> dict[str, Any]:
        """Window and stride, in tokens, and the dtype of the weights.

        Which tokens each window begins with is the tokenizer's choice, so it is in the record.
        """
        entry = self.config.corpora[corpus]
        return self._of(
            "measure_perplexity",
            dtype=self.config.models[model].dtype,
            window_tokens=entry.window_tokens,
            stride_tokens=entry.stride_tokens,
        )

    def selection(self, selector: str) -> dict[str, Any]:
        """A rule that chooses scales, and what it reads."""
        entry = protocol(self.config.selectors[selector], without=("prompts", "scorer", "corpus"))
        return self._of("select_scale", **entry, **self.config.read_by(selector))

    def change(self) -> dict[str, Any]:
        """The VERSION alone: bins and thresholds are constants of the stage."""
        return self._of("parameter_change")

    def cost(self, model: str, scale: str) -> dict[str, Any]:
        """What is timed: the first prompts of the sweep's first set, by its sampling protocol."""
        entry = self.config.prompts[self.config.run.sweep.prompts[0]].generate
        timing = {"scale": scale, "num_prompts": 8, "rounds": 5, "seconds": 3.0}
        dtype = self.config.models[model].dtype
        return self._of("measure_cost", dtype=dtype, **timing, **protocol(entry))

    def export(self) -> dict[str, Any]:
        """The VERSION alone: model, edit and scale are in the path."""
        return self._of("export_model")

    def shard_statistics(self) -> dict[str, Any]:
        """Which subsets of the shards are averaged; thresholds are those of the change."""
        return self._of("shard_statistics", max_subsets=10, seed=42)

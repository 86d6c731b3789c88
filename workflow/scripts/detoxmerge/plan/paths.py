"""The grammar of the results folder: every pattern, once.

Rules use the patterns, the grid fills them in; results/README.md explains them in prose.
"""

import re


class Paths:
    """Patterns below one results folder, with Snakemake's `{wildcards}`.

    `{edit}` is `base` or `{dataset}/{method}/{setting}/seed{seed}`; `evals/X` corresponds to
    `models/X`. Manifests are small JSON files that hold the checksums of the tensors, texts or
    tables beside them.
    """

    def __init__(self, results: str = "results") -> None:
        """Make the patterns.

        Args:
            results: the folder, relative to where the workflow runs, without a slash at its end.
        """
        self.results = results

        # data: the kind precedes the alias, so that a data set and a prompt set may share a name
        data = results + "/data"
        self.dataset = data + "/datasets/{dataset}/dataset.json"
        self.toxic = data + "/datasets/{dataset}/toxic.parquet"
        self.nontoxic = data + "/datasets/{dataset}/nontoxic.parquet"
        self.partition = data + "/datasets/{dataset}/partition-n{n}.json"
        self.prompts = data + "/prompts/{prompts}/prompts.json"
        self.prompt_lines = data + "/prompts/{prompts}/prompts.jsonl"
        self.corpus = data + "/corpora/{corpus}/corpus.json"
        self.corpus_text = data + "/corpora/{corpus}/corpus.txt"
        self.scorer = data + "/scorers/{scorer}/scorer.json"

        # heavy: models and edits
        models = results + "/models/{model}"
        self.pretrained = models + "/pretrained/model.json"
        self.base = models + "/base/edit.json"
        shard = models + "/{dataset}/shards/{recipe}/n{n}/shard{shard}/seed{seed}"
        self.shard = shard + "/meta.json"
        self.shard_delta = shard + "/delta.safetensors"
        self.shard_loss = shard + "/loss.csv"
        self.given_finetune = models + "/-/finetunes/given{finetune}/meta.json"
        self.edit = models + "/{dataset}/{method}/{setting}/seed{seed}/edit.json"
        self.any_edit = models + "/{edit}/edit.json"

        # light: one folder per edit and prompt set or corpus; a file per scale lies beside each
        evals = results + "/evals/{model}/{edit}"
        self.generations = evals + "/{prompts}/generations.json"
        self.toxicity = evals + "/{prompts}/toxicity-{scorer}.json"
        self.fluency = evals + "/{prompts}/fluency.json"
        self.perplexity = evals + "/{corpus}/perplexity.json"
        self.change = evals + "/change.json"
        self.cost = evals + "/cost.json"
        self.selected = evals + "/selected-{selector}.json"
        self.shard_statistics = (
            results + "/evals/{model}/{dataset}/shards/{recipe}/n{n}/seed{seed}/shards.json"
        )

        # an ordinary Hugging Face folder; {scale} is a number or a selector's name
        self.export = results + "/exports/{model}/{edit}/scale{scale}/export.json"

        # final: flat, small, named by subject
        self.summary = results + "/summary.parquet"
        self.config = results + "/config.yaml"
        self.figure = results + "/figures/{figure}-{model}"
        self.levels = results + "/degradation_reduction.csv"
        self.table = results + "/tables/{table}.csv"

    def wildcards(self, pattern: str, path: str) -> dict[str, str] | None:
        """The wildcards of a path that was made from a pattern.

        Args:
            pattern: one of these patterns, without `{edit}`.

        Returns:
            Values by name; None if the path is not of this pattern.
        """
        named = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern))
        match = re.fullmatch(named, path)
        return match and match.groupdict()

    def log(self, pattern: str, name: str | None = None) -> str:
        """Where the log of a rule lies: `logs/` mirrors the path of its output.

        Args:
            pattern: the rule's first output.
            name: the log's own name, where several rules write into one folder.
        """
        return self._mirror("logs", pattern, name) + ".log"

    def benchmark(self, pattern: str, name: str | None = None) -> str:
        """Where a rule's time and memory are kept; `benchmarks/` mirrors like `log`."""
        return self._mirror("benchmarks", pattern, name) + ".tsv"

    def _mirror(self, kind: str, pattern: str, name: str | None) -> str:
        below = pattern.removeprefix(self.results + "/")
        folder, _, file = below.rpartition("/")
        stem = name or file.rpartition(".")[0] or file
        return "/".join(part for part in (self.results, kind, folder, stem) if part)

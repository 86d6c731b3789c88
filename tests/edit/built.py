"""Everything that a method may ask for, made by the library's own stages around a pico model."""

from pathlib import Path
from typing import Any

import pico
from merge.checkpoints import finetunes
from plan.studies import comments, load_config, prompts, study
from safetensors.numpy import save_file

from detoxmerge.data.datasets import prepare_dataset, split_dataset
from detoxmerge.data.texts import prepare_prompts
from detoxmerge.edit.build import make_edit
from detoxmerge.measure.generation import generate
from detoxmerge.measure.toxicity import score_toxicity
from detoxmerge.merge.made_elsewhere import fetch_finetune
from detoxmerge.models.loading import fetch_model
from detoxmerge.plan.edits import Edit
from detoxmerge.plan.grid import Grid
from detoxmerge.storage.artefacts import sha256, write_manifest
from detoxmerge.train.job import Job
from detoxmerge.train.scorer import train_scorer

SCORER = {"vocabulary": 300, "layers": 1, "width": 16, "heads": 2, "max_tokens": 32, "epochs": 1}
SAMPLING = {"samples": 4, "new_tokens": 6, "batch_size": 64}


class Artefacts:
    """A results folder that grows by what edits are made from.

    `seed` decides the base's weights, the fine-tunes and the training seed, so that two folders of
    different seeds share nothing but the texts.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """
        Args:
            folder: to write to.
            seed: see above.
        """
        self.seed = seed
        _, self.given = finetunes(folder / "given", lambda: pico.gpt2(seed=seed))
        pico.save(pico.gpt2(seed=seed), folder / "model")
        scorer = {"texts": [comments()], "test": {"own": comments()}} | SCORER
        self.changes: dict[str, Any] = {
            "results": str(folder / "results"),
            "models": {"small": {"path": str(folder / "model")}},
            "models.small.fine_tunes": [str(path) for path in self.given],
            "datasets.rude": comments(toxic_above=0.5, nontoxic_below=0.5)
            | {"generated": {"kind": "comments", "rows": 60, "seed": 1}},
            "recipes.default": {
                "epochs": 1, "learning_rate": 1e-3, "max_tokens": 16, "batch_size": 8,
            },
            "prompts.openings": prompts(part="test"),
            "prompts.seeds": {"generated": {"kind": "prompts", "rows": 60, "seed": 2}}
            | {"part": "validation", "generate": SAMPLING},
            "scorers.oracle": {"train": scorer},
            "run.seeds": [seed],
            "run.scales": [1.0],
        }  # fmt: skip

    def grid(self, method: str, values: dict[str, Any] | None) -> Grid:
        """A study of one edit.

        Args:
            method: its name.
            values: its entry in the config.
        """
        chosen = {f"methods.{method}": values, "run.methods": [method]}
        return Grid(load_config(study(self.changes | chosen)))

    def edit(self, method: str, values: dict[str, Any] | None) -> Path:
        """Build the edit of a method, with all that it is made from.

        Args:
            method: its name.
            values: its entry in the config.

        Returns:
            Its `edit.json`.
        """
        grid = self.grid(method, values)
        (edit,) = grid.edits
        return self._build(grid, edit)

    def base(self) -> Path:
        """Manifest of the base model."""
        grid = self.grid("merge", {"n": 1})
        return self._make(grid, grid.paths.base.format(model="small"))

    def _build(self, grid: Grid, edit: Edit) -> Path:
        out = Path(grid.paths.edit.format(**vars(edit)))
        if not out.is_file():
            inputs = [self._make(grid, path) for path in grid.inputs_of(edit)]
            base = self._make(grid, grid.paths.base.format(**vars(edit)))
            make_edit(edit, grid.protocol.edit(edit.method, edit.params), base, inputs, Job(out))
            for tensors in grid.tensors_of(edit):
                assert Path(tensors).is_file()
        return out

    def _make(self, grid: Grid, path: str) -> Path:
        """A manifest, unless it is there."""
        if path in grid.built:
            return self._build(grid, grid.built[path])
        out, p = Path(path), grid.paths
        makers = {
            p.base: self._base,
            p.dataset: self._dataset,
            p.partition: self._partition,
            p.shard: self._shard,
            p.given_finetune: self._given,
            p.prompts: self._prompts,
            p.scorer: self._scorer,
            p.generations.replace("{edit}", "base"): self._samples,
            p.toxicity.replace("{edit}", "base"): self._scores,
        }
        ((maker, wildcards),) = [
            (maker, found)
            for pattern, maker in makers.items()
            if (found := p.wildcards(pattern, path))
        ]
        if not out.is_file():
            maker(grid, out, **wildcards)
        return out

    def _base(self, grid: Grid, out: Path, model: str) -> None:
        fetch_model(model, grid.protocol.base(model), None, out)

    def _dataset(self, grid: Grid, out: Path, dataset: str) -> None:
        parts = (out.with_name("toxic.parquet"), out.with_name("nontoxic.parquet"))
        prepare_dataset(dataset, grid.protocol.dataset(dataset), out, *parts)

    def _partition(self, grid: Grid, out: Path, dataset: str, n: str) -> None:
        data = self._make(grid, grid.paths.dataset.format(dataset=dataset))
        split_dataset(data, int(n), grid.protocol.partition(), out)

    def _shard(self, grid: Grid, out: Path, n: str, shard: str, **at: str) -> None:
        """Not trained: a random vector of its own."""
        delta = pico.noise(pico.gpt2(), seed=100 * self.seed + 10 * int(n) + int(shard), size=0.05)
        file = out.with_name("delta.safetensors")
        file.parent.mkdir(parents=True)
        save_file({name: tensor.numpy() for name, tensor in delta.items()}, file)
        protocol = grid.protocol.shard(at["recipe"])
        files = {file.name: sha256(file)}
        write_manifest(out, protocol=protocol, inputs=[], files=files, num_texts=10)

    def _given(self, grid: Grid, out: Path, model: str, finetune: str) -> None:
        base = self._make(grid, grid.paths.base.format(model=model))
        protocol = grid.protocol.given_finetune(model, int(finetune))
        fetch_finetune("models.small", protocol, base, out)

    def _prompts(self, grid: Grid, out: Path, prompts: str) -> None:
        lines = out.with_name("prompts.jsonl")
        prepare_prompts(prompts, grid.protocol.prompts(prompts), out, lines)

    def _scorer(self, grid: Grid, out: Path, scorer: str) -> None:
        train_scorer(scorer, grid.protocol.scorer(scorer), Job(out))

    def _samples(self, grid: Grid, out: Path, model: str, prompts: str) -> None:
        base = self._make(grid, grid.paths.base.format(model=model))
        given = self._make(grid, grid.paths.prompts.format(prompts=prompts))
        protocol = grid.protocol.generate(model, prompts)
        lines = given.with_name("prompts.jsonl")
        generate(base, base, given, lines, ["0"], protocol, 64, "cpu", out)

    def _scores(self, grid: Grid, out: Path, model: str, prompts: str, scorer: str) -> None:
        path = grid.paths.generations.format(model=model, edit="base", prompts=prompts)
        texts = self._make(grid, path)
        judge = self._make(grid, grid.paths.scorer.format(scorer=scorer))
        score_toxicity(texts, judge, grid.protocol.toxicity(scorer), 64, "cpu", out)

"""A byte of a finished study is changed, size and date kept: the job that reads the file stops.

Jobs are the library's functions, called as the scripts call them.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from detoxmerge.data.datasets import split_dataset
from detoxmerge.edit.build import make_edit
from detoxmerge.errors import UserError
from detoxmerge.measure.change import parameter_change
from detoxmerge.measure.cost import measure_cost
from detoxmerge.measure.fluency import measure_fluency
from detoxmerge.measure.generation import generate
from detoxmerge.measure.perplexity import measure_perplexity
from detoxmerge.measure.selection import select_scale
from detoxmerge.measure.shard_statistics import shard_statistics
from detoxmerge.measure.toxicity import score_toxicity
from detoxmerge.models.loading import fetch_model
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.plan.registry import FIGURES
from detoxmerge.report.export import export_model
from detoxmerge.report.inputs import Inputs, paths_by_name
from detoxmerge.report.summary import summarise
from detoxmerge.train.finetune import finetune_shard
from detoxmerge.train.job import Job
from detoxmerge.train.texts import nontoxic_texts

pytestmark = pytest.mark.dag

MERGED, GIVEN = "comments/merge/n=4--recipe=toy/seed42", "-/merge_given/n=2/seed-"
STEERED = (
    "-/destein/prompts=seeds--scorer=tiny--count=4--toxic_above=0.05--nontoxic_below=0.95"
    "--prefix=short/seed-"
)
SHARD = "models/pico/comments/shards/toy/n4/shard2/seed42"
EVALS, BASE_EVALS = f"evals/pico/{MERGED}", "evals/pico/base"


class Study:
    """The study in the current folder, and its jobs; each writes into another folder."""

    def __init__(self, out: Path) -> None:
        config = yaml.safe_load(Path("config/config.yaml").read_text())
        self.config = config | yaml.safe_load(Path("toy.yaml").read_text())
        self.grid, self.out = Grid(load_config(self.config)), out

    def path(self, name: str, **more: str) -> Path:
        """A file by the name of its pattern."""
        at = {"model": "pico", "dataset": "comments", "edit": MERGED, "prompts": "openings"}
        at |= {"corpus": "polite", "scorer": "tiny", "recipe": "toy", "n": "4", "seed": "42"}
        return Path(getattr(self.grid.paths, name).format(**at | more))

    def paths(self, *names: str) -> list[Path]:
        return [self.path(name) for name in names]

    def generate(self, edit: str = MERGED, scale: str = "1") -> None:
        inputs = [self.path("any_edit", edit=edit), *self.paths("base", "prompts", "prompt_lines")]
        protocol = self.grid.protocol.generate("pico", "openings")
        generate(*inputs, [scale], protocol, 8, "cpu", self.out / "generations.json")

    def steer(self) -> None:
        self.generate(STEERED, "0.4")

    def cost(self) -> None:
        inputs = self.paths("any_edit", "base", "prompts", "prompt_lines")
        protocol = self.grid.protocol.cost("pico", "1")
        measure_cost(*inputs, protocol, 8, "cpu", [], self.out / "cost.json")

    def perplexity(self) -> None:
        inputs = self.paths("any_edit", "base", "corpus", "corpus_text")
        protocol = self.grid.protocol.perplexity("pico", "polite")
        measure_perplexity(*inputs, ["1"], protocol, 8, "cpu", self.out / "perplexity.json")

    def score(self) -> None:
        protocol = self.grid.protocol.toxicity("tiny")
        inputs = self.paths("generations", "scorer")
        score_toxicity(*inputs, protocol, 8, "cpu", self.out / "toxicity.json")

    def judge(self) -> None:
        protocol, judge = self.grid.protocol.fluency("pico"), self.path("base", model="home")
        generations = self.path("generations")
        measure_fluency(generations, judge, protocol, 8, "cpu", self.out / "fluency.json")

    def build(self, name: str) -> None:
        edit = self.grid.built[str(self.path("any_edit", edit=name))]
        protocol = self.grid.protocol.edit(edit.method, edit.params)
        inputs = [Path(path) for path in self.grid.inputs_of(edit)]
        make_edit(edit, protocol, self.path("base"), inputs, Job(self.out / "edit.json"))

    def merge(self) -> None:
        self.build(MERGED)

    def merge_given(self) -> None:
        self.build(GIVEN)

    def fit(self) -> None:
        self.build(STEERED)

    def finetune(self) -> None:
        job = Job(self.out / "meta.json", 42, recipe=self.grid.protocol.shard("toy"))
        finetune_shard(*self.paths("base", "dataset", "toxic", "partition"), 0, job)

    def train_nontoxic(self) -> None:
        nontoxic_texts(self.path("dataset"), 3, 1)

    def split(self) -> None:
        protocol = self.grid.protocol.partition()
        split_dataset(self.path("dataset"), 2, protocol, self.out / "partition.json")

    def fetch(self) -> None:
        pretrained = self.path("pretrained", model="home")
        fetch_model("home", self.grid.protocol.base("home"), pretrained, self.out / "edit.json")

    def change(self) -> None:
        edit, out = self.path("any_edit"), self.out / "change.json"
        delta = edit.with_name("delta.safetensors")
        parameter_change(edit, delta, {}, out, out.with_suffix(".parquet"))

    def statistics(self) -> None:
        shards = [self.path("shard", shard=str(i)) for i in range(4)]
        deltas = [self.path("shard_delta", shard=str(i)) for i in range(4)]
        protocol, out = self.grid.protocol.shard_statistics(), self.out / "shards.json"
        shard_statistics(shards, deltas, protocol, {}, out, out.with_suffix(".parquet"))

    def select(self) -> None:
        read = self.grid.read_for_choice("pico", MERGED, "cheap")
        protocol = self.grid.protocol.selection("cheap")
        select_scale({k: Path(v) for k, v in read.items()}, protocol, self.out / "selected.json")

    def draw(self, figure: str, **files: list[str]) -> None:
        FIGURES[figure].table(Inputs(paths_by_name(files), "pico", self.config))

    def draw_losses(self) -> None:
        tunes = self.grid.fine_tunes
        losses = [self.grid.paths.shard_loss.format(**vars(tune)) for tune in tunes]
        self.draw("training_loss", losses=losses)

    def draw_changes(self) -> None:
        self.draw("parameter_change", changes=[str(self.path("change"))], shard_statistics=[])

    def draw_shards(self) -> None:
        self.draw("shard_cosines", shard_statistics=[str(self.path("shard_statistics"))])

    def summarise(self) -> None:
        summarise(self.grid, self.out / "summary.parquet", self.out / "config.yaml")

    def export(self) -> None:
        export_model(self.grid, f"pico/{MERGED}/scale0.5", self.out / "export" / "export.json")


# a file (below the results folder, or a model's) -> the jobs that read it
READ_BY: dict[str, list[Callable[[Study], None]]] = {
    # tensors
    f"models/pico/{MERGED}/delta.safetensors": [
        Study.generate, Study.perplexity, Study.cost, Study.change, Study.export,
    ],
    f"{SHARD}/delta.safetensors": [Study.merge, Study.statistics],
    f"models/pico/{STEERED}/hooks.safetensors": [Study.steer],
    "../../models/pico/model.safetensors": [
        Study.generate, Study.finetune, Study.merge_given, Study.fit,
    ],
    "../../models/pico/tokenizer.json": [Study.generate, Study.fit],
    "../../given/1/model.safetensors": [Study.merge_given],
    "models/home/pretrained/model.safetensors": [Study.judge, Study.fetch],
    "models/home/pretrained/config.json": [Study.judge, Study.fetch],
    "models/home/pretrained/tokenizer_config.json": [Study.judge, Study.fetch],
    "models/home/pretrained/generation_config.json": [Study.fetch],
    "data/scorers/tiny/scorer.ckpt": [Study.score],
    "data/scorers/tiny/tokenizer/vocab.txt": [Study.score],
    "data/scorers/tiny/tokenizer/config.json": [Study.score],
    # texts and tables
    "data/datasets/comments/toxic.parquet": [Study.finetune, Study.summarise],
    "data/datasets/comments/nontoxic.parquet": [Study.train_nontoxic, Study.summarise],
    "data/prompts/openings/prompts.jsonl": [Study.generate, Study.cost, Study.summarise],
    "data/corpora/polite/corpus.txt": [Study.perplexity, Study.summarise],
    f"{EVALS}/openings/generations-scale1.jsonl": [Study.score, Study.judge, Study.summarise],
    f"{BASE_EVALS}/seeds/generations-scale0.jsonl": [Study.fit, Study.summarise],
    f"{BASE_EVALS}/seeds/toxicity-tiny-scale0.parquet": [Study.fit, Study.summarise],
    f"{EVALS}/openings/toxicity-tiny-scale1.parquet": [Study.select, Study.summarise],
    f"{EVALS}/openings/fluency-scale1.parquet": [Study.summarise],
    f"{EVALS}/polite/perplexity-scale1.parquet": [Study.select, Study.summarise],
    f"{EVALS}/change.parquet": [Study.draw_changes, Study.summarise],
    "evals/pico/comments/shards/toy/n4/seed42/shards.parquet": [Study.summarise],
    f"{SHARD}/loss.csv": [Study.draw_losses, Study.summarise],
    f"models/pico/{STEERED}/pairs.jsonl": [Study.summarise],
    f"models/pico/{STEERED}/probes.csv": [Study.summarise],
    # manifests and records
    "data/datasets/comments/dataset.json": [Study.finetune, Study.split],
    "data/datasets/comments/partition-n4.json": [Study.finetune],
    "data/prompts/openings/prompts.json": [Study.generate],
    "data/corpora/polite/corpus.json": [Study.perplexity],
    "data/scorers/tiny/scorer.json": [Study.score],
    "models/home/pretrained/model.json": [Study.fetch],
    f"models/pico/{MERGED}/edit.json": [Study.generate, Study.change],
    "models/pico/base/edit.json": [Study.generate, Study.finetune, Study.merge_given],
    f"{SHARD}/meta.json": [Study.merge, Study.statistics],
    "models/pico/-/finetunes/given1/meta.json": [Study.merge_given],
    f"{EVALS}/openings/generations.json": [Study.score, Study.judge],
    f"{EVALS}/openings/generations-scale1.json": [Study.score, Study.judge],
    f"{EVALS}/openings/toxicity-tiny.json": [Study.select],
    f"{EVALS}/openings/toxicity-tiny-scale1.json": [Study.select, Study.summarise],
    f"{EVALS}/openings/fluency.json": [Study.summarise],
    f"{EVALS}/openings/fluency-scale1.json": [Study.summarise],
    f"{EVALS}/polite/perplexity.json": [Study.select],
    f"{EVALS}/polite/perplexity-scale1.json": [Study.select, Study.summarise],
    f"{EVALS}/change.json": [Study.summarise, Study.draw_changes],
    f"{EVALS}/cost.json": [Study.summarise],
    f"{EVALS}/selected-cheap.json": [Study.summarise],
    "evals/pico/comments/shards/toy/n4/seed42/shards.json": [Study.summarise, Study.draw_shards],
}  # fmt: skip
TEXTS = [file for file in READ_BY if file.endswith((".jsonl", "corpus.txt", ".csv", ".parquet"))]


@pytest.fixture(scope="module")
def house(everything, tmp_path_factory):
    """A copy of the study for all tests of this file, each of which mends what it did."""
    return everything.copy(tmp_path_factory.mktemp("written") / "house")


@pytest.fixture
def study(house, tmp_path, monkeypatch):
    monkeypatch.chdir(house.folder)
    return Study(tmp_path)


@pytest.fixture
def damaged(house, request, tmp_path):
    """A file that the test may damage, back in its place at the end."""
    file = Path(os.path.normpath(f"results/toy/{request.param}"))
    kept = tmp_path / "kept"
    shutil.copy2(house.path(str(file)), kept)
    yield file
    shutil.copy2(kept, house.path(str(file)))


def flip(file):
    """Change a byte: of the numbers, where there are such; size and date stay."""
    times, content = file.stat(), bytearray(file.read_bytes())
    content[-2 if file.suffix == ".safetensors" else len(content) // 2] ^= 0x02
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def refused(study, job):
    """The sentence of a job that stops."""
    with pytest.raises(UserError) as error:
        job(study)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("damaged", "job"),
    [
        pytest.param(file, job, id=f"{Path(file).name}-{job.__name__}")
        for file, jobs in READ_BY.items()
        for job in jobs
    ],
    indirect=["damaged"],
)
def test_a_changed_byte_stops_the_job_that_reads_it(study, damaged, job):
    flip(damaged)
    said = refused(study, job)
    assert str(damaged) in said, said
    words = "is not what .* says: it was changed|was changed after it was|is not valid JSON"
    assert re.search(words, said), said
    assert said.endswith("and run again"), said
    assert re.search(r"delete \S+\.json|delete it", said), said


@pytest.mark.parametrize("loss", ["cut", "gone"])
@pytest.mark.parametrize("damaged", TEXTS, indirect=True, ids=lambda file: Path(file).name)
def test_texts_and_tables_that_were_lost_are_noticed_by_the_summary(study, damaged, loss):
    if loss == "gone":
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:-10])
    said = refused(study, Study.summarise)
    assert re.match(rf"{re.escape(str(damaged))} is (missing|not what)", said), said


def test_every_kind_of_file_that_a_job_reads_is_tried(house):
    def kind(file):
        return re.sub(r"(-scale|-n)[\d.]+(?=\.)", r"\1", Path(file).name)

    found = {
        kind(file)
        for folder in ("data", "models", "evals")
        for file in (house.results / folder).rglob("*")
        if file.is_file() and file.name != ".lock"
    }
    assert found - {kind(file) for file in READ_BY} == set()

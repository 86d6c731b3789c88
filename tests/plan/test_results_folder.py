"""Where results may lie, and which names files and folders can bear."""

import os
import re
from pathlib import Path

import pytest
from plan.studies import comments, prompts, refusal, refusals, study

from detoxmerge.plan.checks.results_folder import PROJECT, Where, bad_results
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.plan.paths import Paths
from detoxmerge.plan.slug import MAX_ALIAS, MAX_BYTES, setting_slug


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a Snakefile, a config and this workflow."""
    here = tmp_path / "project"
    for folder in ("config", "workflow/scripts/detoxmerge", "profiles/default", "results"):
        (here / folder).mkdir(parents=True)
    for file in ("Snakefile", "config/config.yaml", "profiles/default/config.yaml"):
        (here / file).touch()
    (here / "results/README.md").touch()
    (here / "slurm").symlink_to("profiles")
    (here / "link").symlink_to("config")
    (here / "upwards").symlink_to("..")
    (here / "nowhere").symlink_to("gone")
    (here / "circle").symlink_to("circle")
    return here


def why(results: str | Path, *here: Path, files: tuple[Path, ...] = ()) -> str:
    """The sentence against a folder of results; empty if there is none."""
    return "".join(bad_results(str(results), Where(here[0], here[1:], files)))


OWN = ["config", "profiles", "workflow", "slurm", "envs", "docs", "tests", "benchmarks"]
OWN += [".git", ".snakemake", ".venv", ".ci", ".github"]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("form", ["{}", "./{}", "{}/deeper/x", "results/../{}", "/{here}/{}/x"])
def test_own_folders_and_what_is_in_them_are_refused(project: Path, own: str, form: str) -> None:
    found = why(form.format(own, here=project), project)
    assert re.search(rf"is a folder of the project, or lies in one: ({own}|profiles); name", found)


@pytest.mark.parametrize("above", [".", "..", "../..", "results/..", "{here}", "{here}/..", "/"])
def test_the_project_and_what_is_above_it_are_refused(project: Path, above: str) -> None:
    found = why(above.format(here=project), project)
    assert "is the folder of the project, or above it; name a folder of its own" in found


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ("Snakefile", "is a file, or lies below one: "),
        ("Snakefile/x", "is a file, or lies below one: "),
        ("link", "lies in one: config"),
        ("link/x", "lies in one: config"),
        ("upwards", "above it"),
        ("upwards/project/config", "lies in one: config"),
        ("nowhere/x", "is or passes a link to what is not there: "),
        ("circle", "cannot be looked into"),
        ("/proc/self/root/etc/x", "is a folder of the system"),
        ("x/" * 1800 + "x", "is a path of more than 3000 bytes"),
    ],
)
def test_files_and_links_are_looked_through(project: Path, results: str, words: str) -> None:
    assert words in why(results, project)


@pytest.mark.parametrize(
    "folder",
    ["/etc", "/etc/detoxmerge", "/usr", "/usr/share/x", "/bin", "/home", "/proc/x", "/dev", "/var"],
)
def test_folders_of_the_system_are_refused(project: Path, folder: str) -> None:
    assert "is a folder of the system" in why(folder, project)


@pytest.mark.parametrize(
    "folder",
    [
        "results",
        "results/mine",
        "out/a/b",
        "config.old",
        "configs",
        "../beside",
        "/home/me/x",
        "/dev/shm/x",
        "/scratch",
        "{here}/results/x",
        "{here}-results",
        "data",
        "models",
    ],
)
def test_a_folder_of_its_own_is_accepted(project: Path, folder: str) -> None:
    assert why(folder.format(here=project), project) == ""


def test_an_importing_project_is_protected_and_this_one_too(project: Path, tmp_path: Path) -> None:
    importer = tmp_path / "importer"
    (importer / "workflow").mkdir(parents=True)
    for own in ("config", "workflow/rules", "profiles/slurm", ".snakemake/x", ".", ".."):
        assert "of the project" in why(own, importer, project)
    assert why("docs/study", importer, project) == ""  # of which this one has its own
    for folder in (project, project / "config", project / "docs", PROJECT, PROJECT / "envs/x"):
        assert "of the project" in why(folder, importer, project)


STUDIES = [
    "models/m/base/edit.json",
    "data/prompts/p/prompts.json",
    "logs/data/datasets/d/dataset.log",
    "summary.parquet",
]


@pytest.mark.parametrize("mark", STUDIES)
def test_an_earlier_study_goes_on_whatever_lies_beside_it(
    project: Path, tmp_path: Path, mark: str
) -> None:
    for folder in (project / "results/mine", tmp_path / "elsewhere"):
        (folder / mark).parent.mkdir(parents=True)
        for name in (mark, "config.yaml", "notes.txt"):
            (folder / name).touch()
        assert why(folder, project) == ""
        sentence = "has the config.yaml of this run, which the study would write over"
        assert sentence in why(folder, project, files=(folder / "config.yaml",))


def test_other_files_are_not_written_over(project: Path, tmp_path: Path) -> None:
    inside, outside = project / "mine", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
        assert why(folder, project) == ""  # empty
        (folder / "notes.txt").touch()
    assert why(inside, project) == ""
    assert "has files of something else (notes.txt), and no study" in why(outside, project)
    (inside / "config.yaml").touch()
    assert "has a config.yaml of something else" in why("mine", project)


def test_the_folder_is_refused_beside_all_other_errors_and_without_a_disk(project: Path) -> None:
    bad = study({"results": "config", "run.scale": [1.0], "models.small": {}})
    assert [found.split(":")[0] for found in refusals(bad)] == [
        "results",
        "models.small",
        "run.scale",
    ]
    for results in (".", "..", "./config/x", "/etc/x"):
        assert refusal({"results": results}).startswith(f"results: '{results}' is ")
    assert load_config(study(), where=Where(project)).results == "results"
    with pytest.raises(SystemExit, match="results: 'link' is a folder of the project"):
        load_config(study({"results": "link"}), where=Where(project))


def test_the_prefix_of_an_importer_comes_first(project: Path) -> None:
    def prefixed(results: str) -> str:
        return os.path.normpath(f"detox/{results}")

    for results, whole in ((".", "detox"), ("config", "detox/config"), ("a", "detox/a")):
        config = load_config(study({"results": results}), where=Where(project), prefixed=prefixed)
        assert config.results == whole
    with pytest.raises(SystemExit, match="results: 'config' is a folder of the project"):
        load_config(study({"results": "../config"}), where=Where(project), prefixed=prefixed)


# names


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ("a" * 256, "a name in it has 256 bytes, and 255 are the most"),
        ("x/" + "é" * 128, "a name in it has 256 bytes"),
        ("a\nb", "has characters that cannot be seen"),
        ("a\0b", "has characters that cannot be seen"),
    ],
)
def test_results_that_no_file_system_takes_are_refused(results: str, words: str) -> None:
    assert words in refusal({"results": results})


KINDS = ["models", "datasets", "recipes", "prompts", "corpora", "scorers", "selectors"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("ab1" * 100, "a name of 300 bytes, and 100 are the most; shorten it"),
        ("x" * 101, "a name of 101 bytes, and 100 are the most; shorten it"),
        ("x" * 20, "the name ends with 'x' 20 times or more"),
        ("of-" + "ab" * 24, "the name ends with 'ab' 20 times or more"),
    ],
)
def test_alias_that_is_too_long_or_periodic_is_refused(kind: str, alias: str, words: str) -> None:
    entry = {"rule": "pareto"} if kind == "selectors" else next(iter(study()[kind].values()))
    found = refusal({kind: study().get(kind, {}) | {alias: entry}})
    assert found.startswith(f"{kind}.{alias}: {words}")


def test_snakemake_sees_no_period_in_the_longest_names_that_are_left() -> None:
    from snakemake.io import PeriodicityDetector

    for alias in ("x" * 19, "ab" * 19 + "a", "0123456789" * 10, "x" * 60 + "y"):
        load_config(study({"recipes": {"default": {}, alias: {}}}))
        assert PeriodicityDetector().is_periodic(alias) is None
    for alias in ("x" * 20, "ab" * 20, "y" + "ab-" * 20):
        assert PeriodicityDetector().is_periodic(alias) is not None
        assert "endless loop" in refusal({"recipes": {"default": {}, alias: {}}})


def test_every_name_with_the_longest_aliases_fits_beside_the_host_and_process() -> None:
    """A file is `.NAME.HOST-PID.part` while it is written: 80 bytes are left for that."""
    alias = "n" * (MAX_ALIAS - 1) + "-"
    changes = {
        "models": {alias: study()["models"]["small"]},
        "datasets": {alias: comments()},
        "recipes": {alias: {}},
        "prompts": {alias: prompts()},
        "corpora": {f"c{alias[1:]}": comments(window_tokens=32, stride_tokens=16)},
        "scorers": {alias: study()["scorers"]["judge"]},
        "selectors": {alias: {"rule": "pareto"}},
        "methods.merge": {"n": [1, 2], "recipe": alias},
        "run.models": [alias],
        "run.datasets": [alias],
        "run.scales": [1.234567891e-05],
        "run.selectors": [alias],
        "run.sweep": {"prompts": [alias], "corpora": [f"c{alias[1:]}"], "scorers": [alias]},
    }
    grid = Grid(load_config(study(changes)))
    p = Paths("results")
    written = [*grid.results, p.figure.format(figure="degradation_reduction", model=alias) + ".png"]
    scales = [path.replace(".json", "-scale1.234567891e-05.parquet") for path in written]
    longest = max(len(name) for path in [*written, *scales] for name in path.split("/"))
    assert longest + 80 <= MAX_BYTES


def test_a_setting_that_is_too_long_or_periodic_is_refused() -> None:
    def weighted(n: int) -> dict[str, object]:
        return {"n": n, "operator": "weighted", "weights": [[1 / n] * n]}

    config = load_config(study({"methods.merge": weighted(15)}))
    (slug,) = (setting_slug(params) for params in Grid(config).settings.values())
    assert len(slug) <= MAX_BYTES
    found = refusal({"methods.merge": weighted(19)})
    assert found.startswith("methods.merge: a name of ")
    assert found.endswith("bytes, and 255 are the most; shorten it")
    found = refusal({"methods.merge": weighted(40) | {"weights": [[0.025] * 40]}})
    assert "bytes" in found or "endless loop" in found
    many = {"n": 1, "exclude": [["h.1" * 90]]}
    assert "bytes, and 255" in refusal({"methods.merge": many})


def test_a_set_that_is_called_like_a_file_beside_it_is_refused() -> None:
    changes = {"run.selectors": ["front"], "selectors.front": {"rule": "pareto"}}
    for name in ("cost.json", "change.json", "change.parquet", "selected-front.json"):
        raw = study(changes)
        raw["prompts"][name] = prompts()
        raw["run"]["sweep"]["prompts"] = [name]
        assert refusals(raw) == [
            f"run.sweep: '{name}' is also the name of a file of each edit; rename the set"
        ]

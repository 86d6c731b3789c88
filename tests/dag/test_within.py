"""A sweep with a limit of perplexity: what it leaves out, and what another limit costs."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from dag.house import REPORT

pytestmark = pytest.mark.dag

SINGLE, MERGED = (f"comments/merge/n={n}--recipe=toy/seed42" for n in (1, 4))
SCALES = [0.5, 1.0, 2.0, 4.0]
TOXICITY = "toxicity_mean [openings, tiny]"


def perplexity(house, edit, scale):
    folder = house.results / "evals/pico" / edit / "polite"
    table = pd.read_parquet(folder / f"perplexity-scale{scale:g}.parquet")
    return np.exp(table["nll"].sum() / table["tokens"].sum())


def manifest(house, edit, name):
    return json.loads((house.results / "evals/pico" / edit / name).read_text())


def texts(house):
    """Date and bytes of all texts of edits."""
    found = house.results.glob("evals/pico/comments/**/openings/*.jsonl")
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def limit(house, value):
    with house.config() as config:
        config["run"]["sweep"]["within"] = {"ppl_ratio": value}


def test_no_limit_is_the_study_of_before(house):
    with house.config() as config:
        config["run"]["sweep"]["within"] = None
    done = house.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout
    assert "run.sweep.within" not in done.stdout


def test_scales_beyond_the_limit_are_left_out_and_a_higher_one_adds_only_its_own(house):
    with house.config() as config:
        config["run"]["scales"] = SCALES
        config["selectors"] = {"last": {"rule": "fixed", "scale": 4.0}, "front": {"rule": "pareto"}}
        config["run"]["selectors"] = ["last", "front"]
    house.run("--until", "measure_perplexity")
    base = perplexity(house, "base", 0)
    ratio = {
        (edit, scale): perplexity(house, edit, scale) / base
        for edit in (SINGLE, MERGED)
        for scale in SCALES
    }
    steps = [ratio[SINGLE, scale] for scale in SCALES]
    assert 1 < steps[1] < steps[2] < steps[3]
    low, high = (math.sqrt(steps[i] * steps[i + 1]) for i in (1, 2))
    limit(house, low)

    # the plan says how much it can be
    done = house.snakemake("--dry-run")
    assert "at 8 scales at most, of 2 edits; those whose perplexity on polite is" in done.stdout
    sampled = ("generate", "score_toxicity", "measure_fluency")
    assert house.planned() == dict.fromkeys(sampled, 2) | {"select_scale": 4} | REPORT
    before, logs = texts(house), house.logs()
    house.run()

    # what was there is kept, and nothing is sampled beyond the limit
    kept = {edit: [s for s in SCALES if ratio[edit, s] <= low] for edit in (SINGLE, MERGED)}
    assert kept[SINGLE] == [0.5, 1.0]
    stems = ("generations", "toxicity-tiny", "fluency")
    assert house.measured(logs) == {
        (edit, stem): (len(scales) - 2, len(scales))
        for edit, scales in kept.items()
        for stem in stems
    }
    first = texts(house)
    assert {path: first[path] for path in before} == before
    assert len(first) == sum(map(len, kept.values()))
    log = house.results / "logs/evals/pico" / SINGLE / "openings/generations.log"
    assert log.read_text().count("left out 2 of 4 scales: 2 (ppl_ratio ") == 1

    # rows that say so, with a perplexity and without a toxicity
    main = pd.read_csv(house.results / "tables/main.csv")
    edits = main[main["method"] == "merge"]
    assert len(edits) == 2 * len(SCALES)
    for _, row in edits.iterrows():
        edit = SINGLE if "n=1" in row["setting"] else MERGED
        gone = row["scale"] not in kept[edit]
        assert pd.isna(row[TOXICITY]) == gone
        assert row["perplexity_per_token [polite]"] > 0
        assert pd.isna(row["left_out"]) != gone
        if gone:
            found = f"ppl_ratio {ratio[edit, row['scale']]:.6g} > {low:g} on polite"
            assert row["left_out"] == found
    for figure, missing in (("toxicity", True), ("perplexity", False)):
        drawn = pd.read_csv(house.results / f"figures/{figure}-pico.csv")
        assert drawn[drawn["n"] == 1]["mean"].isna().tolist() == [False, False, missing, missing]

    # no rule chooses among them
    assert manifest(house, SINGLE, "selected-last.json")["scales"] == []
    front = manifest(house, SINGLE, "selected-front.json")
    assert set(map(float, front["scales"])) <= {0.5, 1.0}
    assert front["reason"].endswith("(left out of the sweep: 2, 4)")
    assert house.planned() == {}

    # a higher limit does the work of what it adds
    limit(house, high)
    logs = house.logs()
    house.run("--until", *sampled[1:])
    more = {edit: [s for s in SCALES if ratio[edit, s] <= high] for edit in kept}
    assert more[SINGLE] == [0.5, 1.0, 2.0]
    assert house.measured(logs) == {
        (edit, stem): (len(more[edit]) - len(kept[edit]), len(more[edit]))
        for edit in kept
        for stem in stems
    }
    second = texts(house)
    assert {path: second[path] for path in first} == first
    assert set(manifest(house, SINGLE, "openings/generations.json")["left_out"]) == {"4"}

"""The summary: every number once, and nothing that was made by another protocol."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from report.finished import LIMITED, WHY, grid, toxicity, write

from detoxmerge.errors import UserError
from detoxmerge.measure.metrics import metrics_of
from detoxmerge.measure.payloads import PAYLOADS
from detoxmerge.plan.config import Config
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.report.summary import COLUMNS, LEFT_OUT, summarise
from detoxmerge.storage.artefacts import read_json, write_json, write_manifest
from detoxmerge.storage.records import record_path


def summary(study, folder):
    out, config = folder / "summary.parquet", folder / "config.yaml"
    summarise(study, out, config)
    return pd.read_parquet(out), config


def refused(study, folder):
    with pytest.raises(UserError) as error:
        summary(study, folder)
    assert not (folder / "summary.parquet").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_summary_has_every_number_once(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    assert table.columns.tolist() == COLUMNS
    assert not table.duplicated(COLUMNS[:-1]).any()
    cutoffs = finished.config.scorers["judge"].cutoffs
    # of a scale every metric, and 1 count of toxicity; base: one scale; each of 2 edits: 2 scales,
    # 7 numbers of its vector, 5 costs
    scale = sum(len(metrics_of(kind, cutoffs)) for kind in PAYLOADS) + 1
    assert len(table) == scale + 2 * (2 * scale + 7 + 5)


def test_numbers_are_those_of_the_payloads(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    for edit in ("n=1", "n=2"):
        for scale in (0.5, 1.0):
            rows = table[(table["setting"] == edit) & (table["scale"] == scale)]
            (value,) = rows[rows["metric"] == "toxicity_mean"]["value"]
            assert value == pytest.approx(toxicity(edit, scale))
    (base,) = table[(table["method"] == "base") & (table["metric"] == "toxicity_mean")].itertuples()
    assert (base.value, base.scale, base.label) == (0.5, 0.0, "base model")
    assert (base.measured_on, base.scorer) == ("openings", "judge")
    assert pd.isna([base.dataset, base.setting, base.n, base.seed]).all()


def test_scale_that_was_left_out_has_rows_that_say_so(tmp_path, monkeypatch):
    """Never a number, and its perplexity is there."""
    monkeypatch.chdir(tmp_path)
    study = grid(LIMITED)
    write(study)
    table, config = summary(study, tmp_path)
    assert table.columns.tolist() == [*COLUMNS, LEFT_OUT]
    assert yaml.safe_load(config.read_text())["run"]["sweep"]["within"] == {"ppl_ratio": 1.5}
    gone = table["measured_on"].eq("openings") & table["scale"].eq(1.0)
    assert set(table.loc[gone, LEFT_OUT]) == {WHY}
    assert table.loc[gone, ["value", "low", "high", "difference"]].isna().all(axis=None)
    assert {"toxicity_mean", "dist_2"} <= set(table.loc[gone, "metric"])
    assert table.loc[~gone, LEFT_OUT].isna().all()
    kept = table[(table["metric"] == "toxicity_mean") & ~gone]
    assert kept["scale"].tolist() == [0.0, 0.5, 0.5]
    perplexities = table[table["metric"] == "perplexity_per_token"]
    assert perplexities["value"].notna().all()
    assert len(perplexities) == 1 + 2 * 2


def test_rows_of_an_edit_name_it(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    row = table[table["setting"] == "n=2"].iloc[0]
    assert row[["model", "dataset", "method", "n", "seed"]].tolist() == [
        "small", "rude", "merge", 2, "42",
    ]  # fmt: skip
    assert row["label"] == "merged task vectors"


def test_fluency_stands_beside_its_judge(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    rows = table[table["metric"] == "dist_2"]
    assert len(rows) == 1 + 2 * 2
    assert set(rows["value"]) == {0.5}
    assert set(zip(rows["measured_on"], rows["scorer"], strict=True)) == {("openings", "own base")}
    missing = table[table["metric"] == "conditional_perplexity_median"]
    assert missing["value"].isna().all()


def test_fluency_of_another_judge_is_refused(finished, tmp_path):
    """Also of one whose base is a file of the study: no source of the measurement has changed."""
    message = refused(grid({"run.fluency_judge": "small"}), tmp_path)
    assert "fluency.json was made with judge = None, and the config says 'small'" in message


def test_missing_number_is_null(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    median = table[table["metric"] == "conditional_perplexity_median"]
    assert len(median)
    assert median["value"].isna().all()


def test_change_of_an_edit_stands_at_scale_1(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    change = table[table["stage"] == "vector"]
    assert set(change["scale"]) == {1.0}
    first = change[change["setting"] == "n=1"].set_index("metric")["value"].to_dict()
    assert first == {
        "delta_l1_norm": 3.0,
        "delta_l2_norm": 2.0,
        "delta_max_abs": 1.0,
        "num_elements": 8.0,
        "num_structural_zeros": 1.0,
        "num_exact_zeros": 2.0,
        "almost_unchanged_share_below_1e-06": 0.25,
    }


def test_what_an_edit_costs_stands_at_the_scale_that_it_was_measured_at(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    rows = table[table["stage"] == "cost"]
    assert set(rows["scale"]) == {1.0}
    assert rows["scorer"].isna().all()
    of_two = rows[rows["setting"] == "n=2"].set_index("metric")["value"].to_dict()
    assert of_two == {
        "training_seconds": 60.0,
        "extra_forward_passes_per_token": 0.0,
        "extra_memory_mb": 1.5,
        "tokens_per_second": 90.0,
        "tokens_per_second_over_base": 0.9,
    }
    unknown = rows[(rows["setting"] == "n=1") & (rows["metric"] == "training_seconds")]
    assert unknown["value"].isna().tolist() == [True]


def test_cost_of_another_protocol_is_refused(finished, tmp_path):
    message = refused(grid({"run.scales": [0.5, 1.0], "models.small.dtype": "bfloat16"}), tmp_path)
    assert "dtype = 'float32', and the config says 'bfloat16'" in message
    (cost,) = (path for path in finished.costs if "n=2" in path)
    content = read_json(cost)
    write_json(cost, content | {"protocol": content["protocol"] | {"rounds": 9}})
    message = refused(finished, tmp_path)
    assert "cost.json was made with rounds = 9, and the config says 5" in message


def test_same_measurements_give_the_same_bytes(finished, tmp_path):
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary(finished, tmp_path / name)
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert written[0] == written[1]


def test_config_beside_the_summary_gives_the_same_study(finished, tmp_path):
    _, config = summary(finished, tmp_path)
    again = load_config(yaml.safe_load(config.read_text()))
    assert isinstance(again, Config)
    assert again == finished.config
    assert expected_protocols(Grid(again)) == expected_protocols(finished)


@pytest.mark.parametrize(
    ("place", "value", "file", "key"),
    [
        ("recipes.default.epochs", 9, "shard0/seed42/meta.json", "epochs"),
        ("split.seed", 1, "partition-n1.json", "seed"),
        ("datasets.rude.toxic_above", 0.7, "dataset.json", "toxic_above"),
        ("prompts.openings.generate", {"top_p": 0.5}, "generations.json", "top_p"),
        ("corpora.polite.stride_tokens", 8, "perplexity.json", "stride_tokens"),
        ("scorers.judge.label", "insult", "toxicity-judge.json", "label"),
        ("models.small.pretrain.steps", 5, "pretrained/model.json", "steps"),
    ],
)
def test_record_of_another_protocol_is_refused(finished, tmp_path, place, value, file, key):
    message = refused(grid({place: value}), tmp_path)
    assert f"{file} was made with {key} = " in message
    assert "and the config says " in message
    assert message.endswith("delete it (or restore the config) and run again")


def test_key_that_decides_no_number_is_not_refused(finished, tmp_path):
    changes = {"prompts.openings.generate": {"batch_size": 3}, "device": "cpu"}
    summary(grid(changes), tmp_path)


def measurement(study, name="toxicity-judge.json", edit="rude/merge/n=2/seed42"):
    (path,) = (p for p in study.results if p.endswith(name) and f"/{edit}/" in p)
    return Path(path)


@pytest.mark.parametrize("name", ["toxicity-judge.json", "fluency.json", "perplexity.json"])
def test_changed_record_is_refused(finished, tmp_path, name):
    manifest = measurement(finished, name)
    record = record_path(manifest, "0.5")
    write_json(record, read_json(record) | {"toxicity_mean": 0.0})
    message = refused(finished, tmp_path)
    assert message.startswith(f"{record} is not what {manifest} says: it was changed or cut")
    assert message.endswith(f"; delete {manifest} and run again")


def test_missing_record_is_refused(finished, tmp_path):
    manifest = measurement(finished)
    record_path(manifest, "1").unlink()
    message = refused(finished, tmp_path)
    assert message.startswith(f"{record_path(manifest, '1')} is missing, and {manifest} lists it")


def test_record_that_the_manifest_does_not_list_is_refused(finished, tmp_path):
    """A scale that was added to the config and not measured yet."""
    study = grid({"run.scales": [0.5, 0.75, 1.0]})
    message = refused(study, tmp_path)
    assert "does not hold scale 0.75; delete it and run again" in message


def test_scale_that_left_the_config_leaves_the_summary(finished, tmp_path):
    table, _ = summary(grid({"run.scales": [1.0]}), tmp_path)
    assert set(table["scale"][table["measured_on"].notna()]) == {0.0, 1.0}


def test_missing_measurement_is_refused(finished, tmp_path):
    manifest = measurement(finished)
    manifest.unlink()
    message = refused(finished, tmp_path)
    assert message.startswith(f"{manifest} is missing; run the workflow again")


def test_shard_statistics_of_another_protocol_are_refused(finished, tmp_path):
    (shards,) = finished.shard_sets
    path = finished.paths.shard_statistics.format(**vars(shards))
    content = read_json(path)
    content["protocol"]["max_subsets"] = 3
    write_json(path, content)
    message = refused(finished, tmp_path)
    assert message.startswith(f"{path} was made with max_subsets = 3, and the config says 10")


def test_measurement_of_an_edit_that_was_made_anew_is_refused(finished, tmp_path):
    edit = finished.edits[1]
    path = finished.paths.edit.format(**vars(edit))
    inputs = [finished.paths.base.format(model="small"), *finished.inputs_of(edit)]
    write_manifest(
        path, protocol=expected_protocols(finished)[path], inputs=inputs, files={"delta": "new"}
    )
    message = refused(finished, tmp_path)
    assert f"was made from another version of {path} than the present one" in message


def test_speed_is_no_part_of_a_protocol():
    """What `finished` relies on: batch sizes stand in no manifest of a measurement."""
    entry = grid().config.prompts["openings"].generate
    assert "batch_size" not in protocol(entry)


def test_differences_from_the_base_are_paired(finished, tmp_path):
    table, _ = summary(finished, tmp_path)
    for metric in ("toxicity_mean", "perplexity_per_token"):
        rows = table[table["metric"] == metric]
        base, edits = rows[rows["method"] == "base"].iloc[0], rows[rows["method"] != "base"]
        assert pd.isna(base["difference"])
        edits = edits[edits["value"].notna()]
        assert len(edits)
        assert (edits["difference_low"] <= edits["difference"]).all()
        assert (edits["difference"] <= edits["difference_high"]).all()
    # what makes a window hard is the same for the base, and cancels
    edits = edits[edits["scale"] == 0.5]
    widths = edits["high"] - edits["low"]
    assert (edits["difference_high"] - edits["difference_low"] < 0.2 * widths).all()
    toxic = table[(table["metric"] == "toxicity_mean") & (table["method"] != "base")]
    assert toxic["difference"].tolist() == pytest.approx((toxic["value"] - 0.5).tolist())

"""Whose times make up the training time of an edit."""

from plan.studies import comments, load_config, study

from detoxmerge.plan.grid import Grid
from detoxmerge.plan.registry import METHODS


def grid(changes=None):
    return Grid(load_config(study(changes)))


def test_an_edit_is_made_by_its_own_job_and_by_those_of_all_that_it_is_made_from(monkeypatch):
    study_grid = grid()
    below = "results/benchmarks/models/small/rude"
    assert study_grid.benchmarks_of(study_grid.edits[1]) == [
        f"{below}/merge/n=2/seed42/edit.tsv",
        f"{below}/shards/default/n2/shard0/seed42/finetune.tsv",
        f"{below}/shards/default/n2/shard1/seed42/finetune.tsv",
    ]
    leave = METHODS["leave_one_out"]
    monkeypatch.setattr(leave, "inputs", lambda params, at: [at.edit("merge", {"n": 1})] * 2)
    two = grid(
        {
            "methods": {"leave_one_out": {"n": 3, "without": 0}},
            "run.methods": ["leave_one_out"],
        }
    )
    assert two.benchmarks_of(two.edits[0]) == [
        f"{below}/leave_one_out/n=3--without=0/seed42/edit.tsv",
        f"{below}/merge/n=1/seed42/edit.tsv",
        f"{below}/shards/default/n1/shard0/seed42/finetune.tsv",
    ]


def test_nobody_knows_the_time_of_what_was_made_elsewhere():
    hub = [{"hub": f"owner/tune{i}", "revision": f"{i}" * 40} for i in range(3)]
    small = {"pretrain": {"texts": [comments()]}, "fine_tunes": hub}
    merged = {"methods.merge_given": {"n": [1, 3]}, "run.methods": ["merge", "merge_given"]}
    study_grid = grid({"models.small": small} | merged)
    times = {e.method: study_grid.benchmarks_of(e) for e in study_grid.edits}
    assert times["merge_given"] == []
    assert len(times["merge"]) == 3

"""What clusters do to jobs: each fault is injected into a run, and the results must not differ.

A row of the table: what the user sees, the driver's exit status, how many fine-tunes were started
more than once, and whether the results are byte for byte those of an undisturbed run.
"""

import signal
import time

import pytest

pytestmark = pytest.mark.slurm
quick = pytest.mark.slurm_quick


@pytest.fixture
def row(request, house, undisturbed, table):
    """Call at the end of a test: compares the results and adds the row."""
    begin = time.monotonic()

    def add(fault: str, sees: str, *, status: int = 0, same: bool = True) -> None:
        finals = house.finals()
        assert (finals == undisturbed) == same, sorted(finals.items() ^ undisturbed.items())
        lives = house.lives()
        table.append(
            {
                "fault": fault,
                "sees": sees,
                "exit": status,
                "jobs": len(lives),
                "started_again": sum(count - 1 for count in lives.values()),
                "same": finals == undisturbed,
                "seconds": round(time.monotonic() - begin),
                "test": request.node.name,
            }
        )

    return add


@quick
def test_undisturbed(house, row):
    house.start()
    assert house.wait() == 0
    row("none", house.nothing())
    assert max(house.lives().values()) == 1


@quick
def test_running_job_is_cancelled(house, row):
    house.start()
    job = house.training()[0]
    house.cluster.run("scancel", job["id"])
    assert house.wait() == 0
    row("`scancel` of a running fine-tune", house.line("status is: 'CANCELLED"))
    assert house.resumed() == 1


def test_time_limit_is_known(house, row):
    """The job leaves by itself before its limit of a minute; the next attempt has two."""
    house.slow(0.25)  # more than 60 s of training
    house.start("--set-resources", "finetune_shard:runtime=attempt")
    assert house.wait() == 0
    row("time limit shorter than the training", house.line("before the time limit"))
    assert house.resumed() == 2
    assert not any(row["state"] == "TIMEOUT" for row in house.accounts())


def test_time_limit_strikes(house, row):
    """The limit is lowered behind the job's back, so that SLURM ends it."""
    house.slow(0.5)  # SLURM looks twice a minute
    house.start()
    job = house.training()[0]
    house.cluster.run("scontrol", "update", f"jobid={job['id']}", "timelimit=1")
    assert house.wait() == 0
    row("time limit exceeded, job killed", house.line("status is: 'TIMEOUT"))
    assert any(row["state"] == "TIMEOUT" for row in house.accounts())


@quick
def test_memory_limit_is_exceeded(house, row):
    house.start("--set-resources", "finetune_shard:mem_mb=attempt*attempt*400")
    assert house.wait() == 0
    row(
        "memory limit exceeded", house.line("finetune_shard: SLURM ended 2 job.s. for their memory")
    )
    asked = {r["reqtres"] for r in house.accounts() if "finetune" in r["comment"]}
    assert any("mem=400M" in tres for tres in asked)
    assert any("mem=1600M" in tres for tres in asked)


def test_node_is_lost(house, row):
    house.start()
    node = house.training()[0]["node"]
    house.cluster.kill_node(node)
    try:
        house.until(lambda: not any(j["node"] == node for j in house.mine("RUNNING")), "the loss")
    finally:
        house.cluster.start_node(node)
    assert house.wait() == 0
    row("a node killed while it trains", house.nothing())
    assert max(house.lives().values()) > 1


@quick
def test_controller_restarts(house, row):
    house.start()
    house.training()
    house.cluster.stop_controller()
    time.sleep(5)
    house.cluster.start_controller()
    assert house.wait() == 0
    row("controller restarted", house.nothing())
    assert max(house.lives().values()) == 1


def test_controller_is_away_for_a_minute(house, row):
    house.start()
    house.training()
    house.cluster.stop_controller()
    time.sleep(60)
    house.cluster.start_controller()
    assert house.wait() == 0
    row("controller away for a minute", house.nothing())


def test_preempted(house, row):
    house.start()
    house.training()
    urgent = ["--partition=urgent", "--nodes=2", "--ntasks-per-node=1", "--exclusive", "--time=5"]
    job = house.cluster.run("sbatch", "--parsable", *urgent, "--output=/dev/null", "--wrap=sleep 5")
    house.until(lambda: job not in {j["id"] for j in house.cluster.jobs()}, "the urgent job's end")
    assert house.wait() == 0
    row("preempted, and put back into the queue", house.nothing())
    assert house.resumed() == 2


def test_driver_is_killed_and_started_again(house, row):
    """Lock, orphans, and the copies that a careless user would send beside them."""
    house.start()
    before = house.training()
    house.signal(signal.SIGKILL)
    house.wait()
    house.start()
    assert house.wait() == 1
    house.line("cannot be locked")
    house.snakemake("--profile", "slurm", "--unlock")
    house.start()
    assert house.wait() == 1
    sees = house.line("of an earlier run from .* still in the queue")
    assert all(job["id"] in sees for job in before)
    for job in before:
        house.cluster.run("scancel", job["id"])
    house.until(lambda: not house.mine(), "the end of the orphans")
    house.start()
    assert house.wait() == 0
    row("Snakemake killed (-9), started again beside its jobs", sees)
    assert house.resumed() == 2


def test_driver_is_killed_and_its_jobs_end_by_themselves(house, row):
    house.start()
    house.training()
    house.signal(signal.SIGKILL)
    house.wait()
    house.until(lambda: not house.mine(), "the orphans' own end", 300)
    house.snakemake("--profile", "slurm", "--unlock")
    house.start()
    assert house.wait() == 0
    row("Snakemake killed (-9), started again after its jobs", house.nothing())
    assert max(house.lives().values()) == 1


def test_driver_is_interrupted(house, row):
    house.start()
    house.training()
    house.signal(signal.SIGINT)
    status = house.wait()
    sees = house.line("Terminating processes on user request")
    house.until(lambda: not house.mine(), "the cancelled jobs' end")
    house.start()
    assert status == 1
    assert house.wait() == 0
    row("Ctrl-C, started again", sees)
    assert house.resumed() == 2


def test_driver_is_terminated(house, row):
    house.start()
    house.training()
    house.signal(signal.SIGTERM)
    status = house.wait()
    sees = house.line("Will exit after finishing currently running jobs")
    house.start()
    assert status == 1
    assert house.wait() == 0
    row("SIGTERM, started again", sees)
    assert max(house.lives().values()) == 1


def test_disk_is_full_while_a_checkpoint_is_written(house, row, full_disk):
    house.start()
    house.training()
    full_disk.fill()
    sees = house.until(
        lambda: "no space left" in house.said() and house.line("no space left"), "it"
    )
    full_disk.free()
    assert house.wait() == 0
    row("disk full while a checkpoint is written", sees)


def test_output_appears_late(house, row):
    """The script ends well; another process puts its output there eight seconds later."""
    house.replace(
        "workflow/scripts/merge_edit.py",
        "with session(snakemake):\n",
        "from slow_disk import late\n\nwith session(snakemake):\n",
    )
    house.path("workflow/scripts/slow_disk.py").write_text(SLOW_DISK)
    with house.path("workflow/scripts/merge_edit.py").open("a") as script:
        script.write("\nlate(snakemake.output)\n")
    house.start()
    assert house.wait() == 0
    row("an output that appears 8 s late", house.nothing())


def test_one_job_fails_for_good(house, row, undisturbed):
    """Shard 1 always fails; shard 0 is finished all the same, and a second run does the rest."""
    script = "workflow/scripts/finetune_shard.py"
    good = house.path(script).read_text()
    fail = "    if snakemake.wildcards.shard == '1':\n        raise ValueError('a bug')\n"
    house.replace(script, "    recipe = snake", fail + "    recipe = snake")
    house.start("--retries", "1")
    assert house.wait() == 1
    sees = house.line("a bug")
    kept = {k for k in house.finals() if "shard0" in k}
    assert kept == {k for k in undisturbed if "shard0" in k}
    house.path(script).write_text(good)
    house.start()
    assert house.wait() == 0
    row("a job that always fails, then mended", sees)
    assert house.lives()


@quick
def test_second_run_in_the_same_folder(house, row):
    house.start()
    house.training()
    second = house.snakemake("--profile", "slurm")
    assert second.returncode == 1
    assert "cannot be locked" in second.stdout
    sees = next(line for line in second.stdout.splitlines() if "cannot be locked" in line)
    assert house.wait() == 0
    row("a second run in the same folder", sees.strip())
    assert max(house.lives().values()) == 1


SLOW_DISK = '''"""A file server that shows files late."""

import os
import subprocess


def late(paths):
    for path in paths:
        os.rename(path, f"{path}.hidden")
        command = f"sleep 8; mv '{path}.hidden' '{path}'"
        subprocess.Popen(["sh", "-c", command], start_new_session=True)
'''

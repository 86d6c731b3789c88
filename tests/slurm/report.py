"""Puts what the tests found into docs/cluster.md: python -m slurm.report FAULTS.json CLUSTER.md"""

import json
import re
import sys
from pathlib import Path

MARK = "<!-- {}: made by `make slurm-faults` -->", "<!-- end of {} -->"
FAULTS = ("fault", "what the user sees", "exit", "fine-tunes", "started again", "same bytes")
LONGEST = 120
REQUESTS = ("job", "jobs", "asked for (sacct)", "limit")


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def said(line: str) -> str:
    """A printed line without the progress bar before it, at most `LONGEST` characters."""
    text = re.sub(r"^.*it/s\]", "", line)
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return text if text == "nothing" else "`" + text.replace("|", "\\|") + "`"


def faults(found: dict) -> str:
    """A row per fault."""
    return table(
        FAULTS,
        [
            (
                row["fault"],
                said(row["sees"]),
                row["exit"],
                row["jobs"],
                row["started_again"],
                "yes" if row["same"] else "NO",
            )
            for row in found["faults"]
        ],
    )


def requests(found: dict) -> str:
    """A row per request, and what SLURM adds."""
    rows = [(r["job"], r["count"], r["asked"], r["limit"]) for r in found["requests"]]
    o = found["overhead"]
    return (
        f"{table(REQUESTS, rows)}\n\nThe {o['jobs']} jobs took {o['seconds_of_jobs']} s, of which "
        f"{o['seconds_of_rules']} s were the rules' own: {o['seconds_added_per_job']} s per job go "
        f"to SLURM and to the two Snakemakes that start in each. The whole run took "
        f"{o['seconds_of_the_run']} s, without SLURM on the same machine "
        f"{o['seconds_without_slurm']} s."
    )


def put(page: str, name: str, content: str) -> str:
    """The page with new content between the two marks of this name."""
    begin, end = (mark.format(name) for mark in MARK)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"the page has no '{begin}' ... '{end}'")
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    found, page = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    text = put(page.read_text(), "faults", faults(found))
    page.write_text(put(text, "requests", requests(found)))

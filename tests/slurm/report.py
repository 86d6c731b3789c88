"""Puts the table of faults into docs/cluster.md: python -m slurm.report FAULTS.json CLUSTER.md"""

import json
import sys
from pathlib import Path

BEGIN, END = "<!-- faults: made by `make slurm-faults` -->", "<!-- end of faults -->"
HEAD = "| fault | what the user sees | exit | fine-tunes | started again | same bytes |"


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [HEAD, "|" + " --- |" * 6]
    for row in rows:
        sees = row["sees"].replace("|", "\\|")
        cells = (row["fault"], f"`{sees}`", row["exit"], row["jobs"], row["started_again"])
        lines.append("| " + " | ".join(map(str, cells)) + f" | {'yes' if row['same'] else 'NO'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    rows, page = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")
    print(table(rows))

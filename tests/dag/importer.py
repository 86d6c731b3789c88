"""Another workflow, which imports this one for the toy study."""

from pathlib import Path

import pico
import yaml
from dag.conftest import HERE, write_comments
from dag.house import ROOT, House

BY_PATH = f'"{ROOT}/workflow/Snakefile"'
MODULE = """
configfile: "importer.yaml"


rule first:
    input:
        "{results}/tables/main.csv",
    output:
        "header.txt",
    shell:
        "head -n 1 {{input}} > {{output}}"


module detoxmerge:
    snakefile:
        {snakefile}
    config:
        config["detoxmerge"]
{prefix}

use rule * from detoxmerge as detox_*
"""
PREFIX = """    prefix:
        "detox"
"""
# the triggers of profiles/default, which an importer does not read
TRIGGERS = ("--rerun-triggers", "mtime", "params", "input", "software-env")


class Importer(House):
    """A folder with a workflow of its own that imports this one for the toy study."""

    @classmethod
    def write(cls, folder: Path, *, prefix: str = PREFIX, snakefile: str = BY_PATH) -> "House":
        """Everything but results.

        Args:
            folder: is made.
            prefix: of the module, as its lines stand in the Snakefile; or "".
            snakefile: of the module, as it stands in the Snakefile.
        """
        house = cls(folder)
        house.results = folder / ("detox/results/toy" if prefix else "results/toy")
        pico.save(pico.gpt2(), house.path("models/pico"))
        write_comments(house.path("raw/comments.jsonl"), rows=120, seed=2)
        config = {"detoxmerge": yaml.safe_load((HERE / "toy.yaml").read_text())}
        house.path("importer.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        text = MODULE.format(
            snakefile=snakefile, prefix=prefix, results=house.results.relative_to(folder)
        )
        house.path("Snakefile").write_text(text)
        return house

    def append(self, text: str) -> None:
        """Add to the importer's Snakefile."""
        with self.path("Snakefile").open("a") as file:
            file.write(text)

"""The kinds of toxicity scorers: one file each, found by its name, imported without torch.

The name is the key of a scorer's entry in the config: `scorers: {x: {detoxify: original}}`. A
module states what the kind is in the first line of its docstring (config/schema.json shows it), and

    Value                      type of what stands behind the key; pydantic checks it
    RULE                       what makes its manifest: ``fetch_scorer`` or ``train_scorer``
    local_paths(value) -> [LocalPath]     files of this machine that decide what it is: they are
                                          looked up before anything runs, and are inputs of RULE
    words(value) -> str                   what it is, in Markdown, for a model card
    load(manifest, device) -> LoadedScorer     from the fields of its manifest, without internet;
                                               with `manifest`, its path, the files are compared
                                               with the checksums in it
    fetch(value, alias, folder) -> Fetched     with RULE = "fetch_scorer": finds or downloads it;
                                               `value` as plain JSON, `folder` is the manifest's

checkpoint.py is the example to follow. A kind from the hub or a folder can build its Value on
`plan.origin.Origin`. Tests ask for an example of the value in
tests/models/test_scorer_contract.py, and `make schema` writes config/schema.json. A protocol
records only the scorer's own kind, so a new kind changes no result.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ...plan.registry import SCORERS
from ...storage.artefacts import read_json, sha256, write_manifest


class LoadedScorer(Protocol):
    """A scorer that is ready to score.

    Attributes:
        class_names: the labels that it gives scores for.
        model: its torch module, whose parameters and buffers are what it takes of memory.
    """

    class_names: list[str]
    model: Any

    def predict(self, texts: list[str]) -> dict[str, list[float]]:
        """Label -> a score in 0..1 for each text; for a single text its bare score will do."""
        ...


class Encoded(NamedTuple):
    """A text, ready to be scored.

    Attributes:
        length: texts of similar lengths share a batch.
        content: what the scorer takes.
    """

    length: int
    content: Any


@runtime_checkable
class TokenScorer(LoadedScorer, Protocol):
    """A scorer that tokenises apart from scoring; batches are then formed by tokens.

    A kind may give one. Of a scorer with `predict` alone they are formed by characters.
    """

    def encode(self, texts: list[str]) -> list[Encoded]:
        """One per text."""
        ...

    def predict_encoded(self, rows: list[Any]) -> dict[str, list[float]]:
        """Label -> a score in 0..1 for each row, the `content` of what `encode` gave."""
        ...


class Fetched(NamedTuple):
    """What `fetch` found.

    Attributes:
        fields: what `load` needs, as plain JSON values; they go into the manifest.
        files: that decide the scores; the manifest records their checksums.
    """

    fields: dict[str, Any]
    files: list[Path]


def fetch_scorer(alias: str, protocol: Mapping[str, Any], out: Path) -> None:
    """Find a scorer, check that it loads, and write its manifest.

    Args:
        alias: the scorer's name in the config.
        protocol: the value of its kind under the name of the kind.
        out: manifest. What is downloaded lies beside it; local files are only referred to.

    Raises:
        UserError: it cannot be fetched, has another checksum, or cannot be loaded.
    """
    kind = next(name for name in SCORERS if name in protocol)
    write_scorer(out, protocol, kind, SCORERS[kind].fetch(protocol[kind], alias, out.parent))


def write_scorer(
    out: Path, protocol: Mapping[str, Any], kind: str, fetched: Fetched, **content: Any
) -> None:
    """Check that a scorer loads, and write its manifest.

    Args:
        protocol: where the scorer comes from, or how it was trained.
        content: further results.

    Raises:
        UserError: it cannot be loaded.
    """
    scorer = SCORERS[kind].load(fetched.fields, "cpu")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[],
        files=_checksums(fetched.files),
        kind=kind,
        labels=list(scorer.class_names),
        **fetched.fields,
        **content,
    )
    print(f"{out.parent.name}: {type(scorer.model).__name__}, {', '.join(scorer.class_names)}")


def load_scorer(manifest: Path, device: str) -> LoadedScorer:
    """The scorer of a manifest, without internet.

    Args:
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: its files are gone, broken or changed.
    """
    fields = read_json(manifest) | {"manifest": str(manifest)}
    return SCORERS[fields["kind"]].load(fields, device)


def _checksums(files: Iterable[Path]) -> dict[str, str]:
    return {file.name: sha256(file) for file in files}

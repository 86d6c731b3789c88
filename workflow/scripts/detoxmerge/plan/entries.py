"""What the entries of the config share: strictness, sources, and what of them changes numbers.

`protocol(entry)` is the part of an entry that changes numbers. Fields marked `SPEED` do not, so
no rule's params and no measurement's key have them. A field that was added later is marked `LATER`:
it is left out at its default, which gives the numbers of before.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from .local import LocalPath

SPEED: dict[str, Any] = {"speed_only": True}
LATER: dict[str, Any] = {"left_out_at_default": True}


def alias_of(kind: str) -> dict[str, Any]:
    """For `json_schema_extra` of a parameter that names an entry of this kind, e.g. ``prompts``."""
    return {"alias_of": kind}


def as_list(value: Any) -> Any:
    """A single value as a list of one; a list as it is."""
    return value if isinstance(value, list) or value is None else [value]


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Text], BeforeValidator(as_list)]
Several = Annotated[Names, Field(min_length=1)]
MethodEntry = dict[str, Any] | list[dict[str, Any]] | None
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="commit hash on the hub")]


def is_method_entry(value: object) -> bool:
    """Whether a value has the form of a method's entry."""
    if isinstance(value, list):
        return all(isinstance(entry, dict) for entry in value)
    return isinstance(value, dict | None)


def as_dict(value: object) -> dict[str, Any]:
    """A mapping of a config that is not parsed yet; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


class Entry(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """Base of all entries: unknown keys and wrong types are errors, and so are huge numbers."""

    @model_validator(mode="after")
    def _integers_fit(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, int) and abs(value) >= 2**63:  # torch and parquet take no more
                raise ValueError(f"`{name}` must be below 2**63, about 9.2e18, not {value}")
        return self


def exactly_one(entry: Entry, *names: str) -> None:
    """Raise ValueError unless just one of these fields is given."""
    given = [name for name in names if getattr(entry, name) is not None]
    if len(given) != 1:
        raise ValueError(f"must have exactly one of {', '.join(names)}; has {given or 'none'}")


def protocol(entry: BaseModel, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The part of an entry that changes numbers, as plain JSON values.

    Returns:
        Field values by name, nested entries likewise, without the fields marked `SPEED`, and those
        marked `LATER` at their default.
    """
    return {
        name: plain(getattr(entry, name))
        for name, field in type(entry).model_fields.items()
        if name not in without
        and field.json_schema_extra != SPEED
        and not (field.json_schema_extra == LATER and getattr(entry, name) == field.default)
    }


def plain(value: Any) -> Any:
    """A value of an entry as plain JSON; of nested entries what changes numbers."""
    if isinstance(value, BaseModel):
        return protocol(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


class Sample(Entry):
    """A seeded sample of rows, without replacement."""

    rows: int = Field(ge=1, description="number of rows kept")
    seed: int = Field(ge=0, description="seed of the choice")


class Generated(Entry):
    """Text of this project's own seeded generator: needs no network and no file."""

    kind: Literal["comments", "prompts"]
    rows: int = Field(ge=1, le=10**8, description="number of texts")
    seed: int = Field(ge=0, description="seed of the generator")


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # of a training: numpy's limit in transformers


def require_heads(entry: Any) -> None:
    """Raise ValueError unless the attention heads of a model share its width evenly."""
    if entry.width % entry.heads:
        raise ValueError(
            f"`width` must be a multiple of `heads`; has {entry.width} and {entry.heads}"
        )


class Source(Entry):
    """Rows of text: from the hub, from local files, or from the embedded generator."""

    hub: Text | None = Field(None, description="data set id on the Hugging Face hub")
    revision: Revision | None = None
    subset: str | None = Field(None, description="name of the hub data set's configuration")
    splits: Several | None = Field(None, description="splits of the hub data set, concatenated")
    path: Several | None = Field(
        None, description="local .parquet, .jsonl, .json, .csv (also .gz); $VARIABLES are expanded"
    )
    generated: Generated | None = None
    where: dict[str, str | int | bool] = Field(
        default={}, description="column: value; rows that differ are left out"
    )
    text: Text = Field("text", description="column with the text; a.b for a nested one")
    part: Literal["validation", "test"] | None = Field(
        None,
        description="a fifth of the texts, or the rest: which one a text is in, the text decides",
        json_schema_extra=LATER,
    )
    sample: Sample | None = Field(
        None, description="after `where` and `part`: a seeded sample of the rows"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        exactly_one(self, "hub", "path", "generated")
        if self.hub and not (self.revision and self.splits):
            raise ValueError("a hub data set needs `revision` (a commit hash) and `splits`")
        of_hub = [name for name in ("revision", "subset", "splits") if getattr(self, name)]
        if of_hub and not self.hub:
            raise ValueError(
                f"`{of_hub[0]}` belongs to a hub data set and would not be read; leave it out (of "
                "files, `where` or `part` choose rows)"
            )
        paths = self.path or []
        repeated = [path for i, path in enumerate(paths) if path in paths[:i]]
        if repeated:
            raise ValueError(f"`path` names '{repeated[0]}' twice; leave one out")
        made, chosen = self.generated, self.sample
        if made and chosen and chosen.rows > made.rows:
            raise ValueError(
                f"sample.rows {chosen.rows} is more than generated.rows {made.rows}; lower it"
            )
        return self

    @property
    def most_rows(self) -> int | None:
        """How many rows it has at most, as far as the config alone tells; None: it does not."""
        made = self.sample or self.generated
        return made.rows if made else None

    def local_paths(self) -> list[LocalPath]:
        """Its local files, if it has any."""
        return [LocalPath("path", path) for path in self.path or []]

    def words(self) -> str:
        """Where the texts come from, in Markdown, for a model card; folders are left out."""
        made = self.generated
        if made:
            words = f"{made.rows} {made.kind} of the workflow's own generator, seed {made.seed}"
        elif self.hub:
            subset = f" ({self.subset})" if self.subset else ""
            words = f"`{self.hub}`{subset}, {', '.join(self.splits or [])}, at `{self.revision}`"
        else:
            words = "local " + ", ".join(f"`{path.rsplit('/', 1)[-1]}`" for path in self.path or [])
        if self.where:
            words += ", where " + " and ".join(f"{k} is {v}" for k, v in self.where.items())
        if self.part:
            words += f", the {self.part} part of them"
        if self.sample:
            words += f", a sample of {self.sample.rows} rows, seed {self.sample.seed}"
        return words


class Labelled(Source):
    """Texts with a toxicity score, to train or test a scorer on."""

    score: Text = Field("toxicity", description="column with the score, 0..1")

    @model_validator(mode="after")
    def _two_columns(self) -> "Labelled":
        if self.text == self.score:
            raise ValueError(f"`text` and `score` are both the column '{self.text}'")
        return self

"""Where a model comes from: a pinned repository of the hub, or a local path."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from .entries import Entry, Revision, Text, exactly_one
from .local import TOKENIZER_FILES, LocalPath


class Origin(Entry):
    """A pinned repository of the hub, or a local path."""

    OTHERS: ClassVar[tuple[str, ...]] = ()  # fields that may stand in place of `hub` and `path`
    PATH_KIND: ClassVar[str] = "folder"
    # decide what a local folder is, with the weights of a model there
    FILES: ClassVar[tuple[str, ...]] = TOKENIZER_FILES

    hub: Text | None = Field(None, description="id on the Hugging Face hub")
    revision: Revision | None = None
    path: Text | None = Field(None, description="local folder; $VARIABLES are expanded")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        exactly_one(self, "hub", "path", *self.OTHERS)
        if self.hub and not self.revision:
            raise ValueError("a hub model needs `revision` (a commit hash)")
        return self

    def place(self) -> dict[str, str | None]:
        """`hub`, `revision` and `path`, as a protocol records them."""
        return {"hub": self.hub, "revision": self.revision, "path": self.path}

    def local_paths(self) -> list[LocalPath]:
        """The local path, if there is one."""
        if not self.path:
            return []
        return [LocalPath("path", self.path, self.PATH_KIND, self.FILES, weights=True)]

    def words(self) -> str:
        """For a model card: the repository and its revision, or the name of the local copy."""
        return words_of(**self.place())


def words_of(hub: str | None = None, revision: str | None = None, path: str | None = None) -> str:
    """As `Origin.words`, from what a manifest records; local folders are left out."""
    if path:
        return f"`{path.rstrip('/').rsplit('/', 1)[-1]}`, a local copy"
    return f"`{hub}` at revision `{revision}`"

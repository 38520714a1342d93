"""Where a task of the service comes from: a name in the registry, or a file. Each gives what should answer now."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vptlib.errors import UserError
from vptlib.operations.artefact import Artefact, digest_of, read_artefact
from vptlib.operations.deposit import withdraw
from vptlib.operations.new_images import identity_of
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.standing import PRODUCTION, Version


@dataclass(frozen=True)
class Offer:
    """What should answer for a task.

    Attributes:
        name: of the task.
        number: of the version in the registry; None of a file.
        digest: SHA-256 of the file.
        origin: the version, or the path of the file.
    """

    name: str
    number: int | None
    digest: str
    origin: Version | Path

    def read(self) -> Artefact:
        """The very file that is meant, whole.

        Raises:
            UserError: it is gone, damaged or another one by now; or the registry does not answer.
        """
        path = self.origin if isinstance(self.origin, Path) else withdraw(self.origin)
        artefact = read_artefact(path)
        if artefact.digest != self.digest:
            raise UserError(f"{path} is not the file any more that answered for {self.name!r}: put that one back.")
        return artefact


class Source(Protocol):
    """Where a task comes from."""

    @property
    def name(self) -> str: ...

    def offer(self) -> Offer | None:
        """What should answer now; None if nothing should.

        Raises:
            UserError: it cannot be known now.
        """
        ...


def in_production() -> list[str]:
    """The names of all prompts that have a version in production.

    Raises:
        UserError: the registry does not answer.
    """
    return sorted({version.name for version in PromptRegistry().versions() if PRODUCTION in version.roles})


class InRegistry:
    """A prompt of the registry: its version in production.

    Args:
        name: of the prompt.
    """

    def __init__(self, name: str):
        self.name = name
        self._registry = PromptRegistry()

    def offer(self) -> Offer | None:
        """The version in production; None if there is none.

        Raises:
            UserError: there is no such prompt, what is in production is in doubt, or the registry does not answer.
        """
        try:
            version = self._registry.version(self.name)
        except UserError:
            if self._has_nothing():
                return None
            raise
        return Offer(self.name, version.number, version.digest, version)

    def _has_nothing(self) -> bool:
        """Whether the registry answers, and says for certain that nothing is in production."""
        versions = self._registry.versions(self.name)
        return not any(PRODUCTION in one.roles for one in versions) and not self._registry.verify(self.name)


class InFile:
    """A `.vpt` file; its stem is the task's name. A file that takes its place is a new version.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.name, self._path = path.stem, path
        self._known: tuple[tuple[int, ...], str] = (), ""  # size and times of the file, and its digest then

    def offer(self) -> Offer:
        """The file as it is now.

        Raises:
            UserError: it is not there, or cannot be read.
        """
        identity = identity_of(self._path)
        if not identity or identity != self._known[0]:
            try:
                self._known = identity, digest_of(self._path)
            except OSError as error:
                raise UserError(f"{self._path} cannot be read ({error.strerror}): put the file back.") from error
        return Offer(self.name, None, self._known[1], self._path)

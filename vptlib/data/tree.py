"""The folders and files below a place, as they lie there: which files are images, and which are not.

What a file manager, an archive or a server leaves behind is no content (`_SYSTEM`). Everything else is counted, so that
nothing is passed over without a word.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vptlib.data.formats import suffixes
from vptlib.errors import UserError

# Names, in lower case, of what systems leave behind: macOS, Windows, Synology, QNAP, Linux desktops, tools.
_SYSTEM = re.compile(
    r"""
    __macosx | __pycache__ | \._.* | \.ds_store | \.appledouble | \.localized | \.spotlight-v100 | \.fseventsd | icon\r
    | \.trash.* | \.temporaryitems | \.documentrevisions-v100 | network\ trash\ folder | temporary\ items
    | thumbs\.db.* | ehthumbs.*\.db | desktop\.ini | \$recycle\.bin | recycler | system\ volume\ information | ~\$.*
    | @eadir | @synoresource | @tmp | \#recycle | \#snapshot | @recycle | \.@__thumb | @__thumb | \.snapshots?
    | \.thumbnails | \.directory | lost\+found | \.nfs.* | \.fuse_hidden.* | \.nomedia | \.?picasa\.ini
    | \.picasaoriginals | \.ipynb_checkpoints | \.git.* | \.svn | \.hg | \.dvc.* | \.idea | \.vscode | \.cache
    | \.dropbox.* | \.huggingface | \.keep
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(eq=False)
class Folder:
    """A folder and all that is in it.

    Attributes:
        path: its place.
        images: the images in it, sorted by name.
        others: the names of its other files.
        folders: those in it, sorted by name.
        hidden: those in it whose names begin with a dot.
        hidden_images: images in it whose names begin with a dot.
        circles: links in it that lead back to a folder above.
    """

    path: Path
    images: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)
    hidden: list["Folder"] = field(default_factory=list)
    hidden_images: list[Path] = field(default_factory=list)
    circles: list[Path] = field(default_factory=list)
    count: int = 0  # images in it and below, filled in when all is found

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def filled(self) -> list["Folder"]:
        """The folders in it that hold images, themselves or below."""
        return [folder for folder in self.folders if folder.count]

    def walk(self) -> Iterator["Folder"]:
        """Itself and all folders below, each before those in it."""
        waiting: list[Folder] = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(reversed(folder.folders))


@dataclass
class Ignored:
    """Names of folders that the user wants left out, and the folders of these names that were found."""

    names: frozenset[str] = frozenset()
    found: list[Folder] = field(default_factory=list)


def tree(path: Path, ignored: Ignored) -> Folder:
    """All folders and files below `path`; links are followed, unless they lead back to where they come from.

    Raises:
        UserError: a folder cannot be read.
    """
    root = Folder(path)
    found = [root]
    waiting: list[tuple[Folder, tuple[tuple[int, int], ...]]] = [(root, (_identity(path),))]
    while waiting:
        folder, above = waiting.pop()
        for entry in _entries(folder.path):
            if _SYSTEM.fullmatch(entry.name.lower()):
                continue
            if not _is_folder(entry):
                _add_file(folder, entry)
                continue
            inner = Folder(Path(entry.path))
            ways = (*above, _identity(inner.path))
            if ways[-1] in above:
                folder.circles.append(inner.path)
                continue
            if entry.name in ignored.names:
                ignored.found.append(inner)
            else:
                (folder.hidden if entry.name.startswith(".") else folder.folders).append(inner)
            found.append(inner)
            waiting.append((inner, ways))
    for folder in reversed(found):  # each after those in it
        folder.count = len(folder.images) + sum(inner.count for inner in folder.folders)
    return root


def _add_file(folder: Folder, entry: os.DirEntry) -> None:
    # A link that leads nowhere is kept: it is named when the image is opened. A pipe or a socket would never end.
    is_image = entry.name.lower().endswith(suffixes()) and (entry.is_symlink() or entry.is_file())
    if not is_image:
        folder.others.append(entry.name)
    else:
        (folder.hidden_images if entry.name.startswith(".") else folder.images).append(Path(entry.path))


def _entries(path: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give yourself the right to read it, or write "
            f"?ignore={path.name} to leave it out."
        ) from error


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino

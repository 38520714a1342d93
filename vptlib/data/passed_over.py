"""Files and folders that hold no image that was read: counted by ending and class, with what would include them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from vptlib.data.endings import NAME_IT, way_of
from vptlib.data.findings import Finding
from vptlib.data.formats import NEEDS_PLUGIN
from vptlib.data.tree import Folder, Ignored
from vptlib.statement import statement
from vptlib.wording import printable


def passed_over(root: Folder, classes: dict[Folder, str], ignored: Ignored) -> list[Finding]:
    """What was left out below `root`, by ending and class.

    Args:
        root: the folder that was named.
        classes: the folders that hold the images of classes, with the name of the class.
        ignored: what the user wants left out.
    """
    of_class: dict[Folder, str] = {}
    for folder, name in classes.items():
        of_class |= dict.fromkeys(folder.walk(), name)
    everywhere = list(root.walk())
    return [
        *_by_ending(everywhere, of_class),
        *_hidden(everywhere),
        *_circles(everywhere),
        *_ignored(ignored),
    ]


def _by_ending(folders: Iterable[Folder], of_class: dict[Folder, str]) -> list[Finding]:
    files: dict[str, Counter[str]] = defaultdict(Counter)  # ending → class → files
    other: Counter[str] = Counter()
    for folder in folders:
        for name in folder.others:
            ending = printable(PurePath(name.strip()).suffix.lower())
            way = way_of(ending) or (NAME_IT if not ending and folder in of_class else "")
            if way and not name.startswith("."):
                files[ending][of_class.get(folder, "")] += 1
            else:
                other[ending or printable(name)] += 1
    findings = [
        Finding(
            "warning",
            statement(
                "files_passed_over",
                ending=ending,
                files=sum(counts.values()),
                classes={name: n for name, n in sorted(counts.items()) if name},
                way=way_of(ending) or NAME_IT,
                package=NEEDS_PLUGIN.get(ending, ""),
            ),
        )
        for ending, counts in sorted(files.items())
    ]
    if other:
        endings = dict(sorted(other.items(), key=lambda item: (-item[1], item[0]))[:5])
        what = statement("no_images_passed_over", files=sum(other.values()), endings=endings)
        findings.append(Finding("note", what))
    return findings


def _hidden(folders: Iterable[Folder]) -> list[Finding]:
    found = [image for folder in folders for image in folder.hidden_images]
    found += [image for folder in folders for inner in folder.hidden for f in inner.walk() for image in f.images]
    if not found:
        return []
    first = printable(f"{found[0].parent.name}/{found[0].name}")
    return [Finding("warning", statement("hidden_passed_over", images=len(found), first=first))]


def _circles(folders: Iterable[Folder]) -> list[Finding]:
    found = [printable(str(link)) for folder in folders for link in folder.circles]
    return [Finding("warning", statement("link_in_a_circle", links=len(found), first=found[0]))] if found else []


def _ignored(ignored: Ignored) -> list[Finding]:
    images = {printable(name): 0 for name in sorted(ignored.names)}
    for folder in ignored.found:
        images[printable(folder.name)] += sum(len(inner.images) for inner in folder.walk())
    return [Finding("note", statement("ignored_as_asked", images=images))] if images else []

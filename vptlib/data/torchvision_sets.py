"""Data sets of torchvision, whatever they call their splits."""

import inspect
import re
from typing import Any

from PIL import Image

from vptlib.data.library_parts import Choice, Part, joined
from vptlib.data.listing import Listing
from vptlib.errors import UserError
from vptlib.paths import cache_folder
from vptlib.wording import did_you_mean

_WORDS = ("train", "trainval", "val", "valid", "test")  # tried where a data set does not list its own
_TRIED = 3  # targets that are compared with the list of them all


def read_torchvision(name: str, root: str = "", split: str = "", train: str = "", test: str = "") -> Listing:
    """A data set of `torchvision.datasets` that has been downloaded to `root`.

    Args:
        name: of its class.
        root: the folder; by default that of vptlib's cache.
        split: which of its variants, for a data set that calls these splits (EMNIST).
        train, test: splits, where their names do not say which train; with commas between several.

    Raises:
        UserError: there is no such data set, it is not in `root`, or its targets are not classes.
    """
    from torchvision import datasets as sets

    kind = getattr(sets, name, None)
    if not isinstance(kind, type):
        hint = did_you_mean(name, sets.__all__, "did you mean 'CIFAR10'?")
        raise UserError(f"torchvision has no data set {name!r}: {hint}")
    where, choice = f"torchvision:{name}", Choice(train, test)
    make = _Maker(kind, root or str(cache_folder()), split)
    names = make.words(whole=bool(train or test))
    parts = [_part(word, make.part(word), where) for word in names if choice.wants(word, names)]
    return joined(parts, names, choice, where, f"torchvision's {name}")


class _Maker:
    """Makes the parts of a data set from the words in which its class takes them."""

    def __init__(self, kind: type, root: str, variant: str):
        from torchvision.datasets import MNIST

        self._kind, self._root = kind, root
        self._takes = inspect.signature(kind).parameters
        is_emnist = issubclass(kind, MNIST) and "split" in self._takes
        self._fixed = {"split": variant} if is_emnist else {}
        if is_emnist and variant not in (known := getattr(kind, "splits", ())):
            raise UserError(
                f"torchvision's {kind.__name__} has several variants: write ?split= and one of {', '.join(known)}."
            )
        if variant and not is_emnist:
            raise UserError(f"torchvision's {kind.__name__} takes no ?split=: its splits are found by their names.")
        self._by_train = is_emnist or "train" in self._takes
        self._word = next((name for name in ("split", "image_set") if name in self._takes), None)

    def words(self, whole: bool) -> list[str]:
        """What the parts are called; unless `whole`, without those whose images another one holds too."""
        if self._by_train:
            return ["train", "test"]
        if self._word is None:
            return ["all"]
        known = self._listed_words() or self._tried_words()
        if whole or not {"train", "trainval"} <= set(known):
            return known
        double = {"train", "val"} if "test" in known else {"trainval"}
        return [word for word in known if word not in double]

    def _listed_words(self) -> list[str]:
        """The words that the class names when it is given a wrong one; those of several parts (train+val) left out."""
        try:
            self._kind(root=self._root, **{str(self._word): "?"})
        except ValueError as error:
            words = re.findall(r"'([^']+)'", str(error))
        except Exception:  # it needs its files first, or another library
            return []
        else:
            return []
        return [word for word in dict.fromkeys(words) if word not in ("?", self._word) and "+" not in word]

    def _tried_words(self) -> list[str]:
        found = []
        for word in _WORDS:
            try:
                self._kind(root=self._root, **{str(self._word): word})
            except (ValueError, KeyError, AssertionError):
                continue
            except Exception as error:
                raise self._absent(error) from error
            found.append(word)
        return found or ["train"]

    def part(self, word: str) -> Any:
        """The part of that name."""
        by_word = {} if self._word is None else {self._word: word}
        options = {"train": word == "train"} if self._by_train else by_word
        try:
            return self._kind(root=self._root, **self._fixed, **options)
        except TypeError as error:
            raise UserError(
                f"torchvision's {self._kind.__name__} needs more than a folder ({_first_line(error)}): list its files "
                "in a table."
            ) from error
        except Exception as error:  # missing and damaged files, missing libraries: exceptions of many kinds
            raise self._absent(error) from error

    def _absent(self, error: Exception) -> UserError:
        name = self._kind.__name__
        if isinstance(error, ImportError):
            return UserError(f"torchvision's {name} needs another library ({_first_line(error)}): install it.")
        return UserError(
            f"torchvision's {name} is not in {self._root} ({_first_line(error)}): download it with "
            f"`torchvision.datasets.{name}({self._root!r}, download=True)`, or give ?root=DIR."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


# ---- targets and images -----------------------------------------------------------------------------------------


def _part(word: str, part: Any, where: str) -> Part:
    if not _length(part):
        raise UserError(f"{where} has no images in its part {word!r}: download it again, or list its files in a table.")
    picture, _ = _item(part, 0, word, where)
    if not isinstance(picture, Image.Image):
        raise UserError(
            f"{where} gives {type(picture).__name__}, not images: save its images, and list them in a table."
        )
    numbers = [_number(target, where) for target in _targets(part, word, where)]
    names = _class_names(part, numbers)
    labels = [None if number is None else names[number] for number in numbers]
    return Part(word, labels, list(names.values()), lambda row: _item(part, row, word, where)[0])


def _length(part: Any) -> int:
    try:
        return len(part)
    except (NotImplementedError, TypeError):
        return 0


def _item(part: Any, row: int, word: str, where: str) -> tuple[Any, Any]:
    try:
        item = part[row]
    except Exception as error:  # Pillow's plugins and data sets raise exceptions of many kinds
        raise UserError(f"{where}, part {word}, image {row} cannot be read ({error}): download it again.") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UserError(f"{where} does not give an image and a class: list its files in a table.")
    return item[0], item[1]


def _targets(part: Any, word: str, where: str) -> list:
    """All targets: from a list that agrees with what the items give, otherwise from the items, one by one."""
    tried = sorted({0, len(part) // 2, len(part) - 1})[:_TRIED]
    own = {row: _number(_item(part, row, word, where)[1], where) for row in tried}
    for name in ("targets", "labels", "_labels", "y"):
        there = getattr(part, name, None)
        if there is not None and hasattr(there, "__len__") and len(there) == len(part):
            found = list(there)
            if all(_agrees(found[row], number) for row, number in own.items()):
                return found
    return [_item(part, row, word, where)[1] for row in range(len(part))]


def _agrees(target: Any, number: int | None) -> bool:
    try:
        return _whole(target) == (-1 if number is None else number)
    except (TypeError, ValueError):
        return False


def _number(target: Any, where: str) -> int | None:
    """A target as a class; None if there is no label."""
    if target is None:
        return None
    try:
        number = _whole(target)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where} gives targets such as {str(target)[:60]!r}, not one class an image: list its files in a table."
        ) from error
    return None if number == -1 else number


def _whole(target: Any) -> int:
    value = target.item() if hasattr(target, "item") and getattr(target, "ndim", 0) == 0 else target
    if not isinstance(value, int) or value < -1:
        raise TypeError(f"{value!r} is no class")
    return int(value)


def _class_names(part: Any, numbers: list[int | None]) -> dict[int, str]:
    """Number → name; the numbers themselves where the data set has no names that fit."""
    most = max((number for number in numbers if number is not None), default=0)
    given = getattr(part, "classes", None)
    names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in given or ()]
    if len(names) <= most or len(set(names)) < len(names):
        names = list(map(str, range(most + 1)))
    return dict(enumerate(names))

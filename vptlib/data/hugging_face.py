"""Image data sets of Hugging Face: saved by `save_to_disk`, a folder of .parquet files, or on the hub."""

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from vptlib.data.findings import Finding
from vptlib.data.library_parts import Choice, Part, joined
from vptlib.data.listing import Listing
from vptlib.errors import UserError
from vptlib.statement import statement

_LABELS = ("label", "labels", "class", "target", "category")
_IMAGES = ("image", "img", "images", "picture")
_NAMED = 20  # columns in a message


def read_hugging_face(
    place: str, image: str = "", label: str = "", train: str = "", test: str = "", config: str = ""
) -> Listing:
    """A data set with a column of images and one of labels.

    Args:
        place: a folder, or a name on the hub.
        image, label: columns, where the data set has several that may be meant.
        train, test: splits, where their names do not say which train; with commas between several.
        config: of a data set on the hub that has several.

    Raises:
        UserError: the library is not installed, or the data set cannot be loaded or understood.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError as error:
        raise UserError("hf: needs the library datasets: run `pip install datasets`.") from error
    where, choice = f"hf:{place}", Choice(train, test)
    found = _loaded(datasets, place, config)
    splits = dict(found.items()) if hasattr(found, "items") else {"train": found}
    wanted = {name: part for name, part in splits.items() if choice.wants(name, list(splits))}
    columns = {name: _columns(datasets, part, image, label, f"{where}, split {name}") for name, part in wanted.items()}
    if len(set(columns.values())) > 1:
        raise UserError(f"{where}: the splits have other columns ({columns}): write ?image=COLUMN&label=COLUMN.")
    parts = [_part(name, part, *columns[name], where) for name, part in wanted.items()]
    first = next(iter(wanted), None)
    said = _column_remark(wanted[first], *columns[first], bool(image and label), where) if first else []
    free_text = not any(_names(part.features[columns[name][1]]) for name, part in wanted.items())
    return joined(parts, list(splits), choice, where, f"the Hugging Face data set {place}", said, free_text)


# ---- loading ----------------------------------------------------------------------------------------------------


def _loaded(datasets, place: str, config: str):
    folder = Path(place)
    try:
        if not folder.is_dir():
            return datasets.load_dataset(place, **({"name": config} if config else {}))
        if _is_saved(folder) or not _has_parquet(folder):
            return datasets.load_from_disk(place)
        return datasets.load_dataset(place, **({"name": config} if config else {}))
    except Exception as error:  # datasets, huggingface_hub, pyarrow and requests raise exceptions of many kinds
        reason = " ".join(str(error).split())
        if folder.is_dir() and not _is_saved(folder):
            raise UserError(_other_folder(folder)) from error
        if "config" in reason.lower() and not config:
            raise UserError(f"hf:{place} cannot be loaded ({reason}): choose one by ?config=NAME.") from error
        raise UserError(f"hf:{place} cannot be loaded ({reason}): check the name and the network.") from error


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _has_parquet(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("*.parquet", "*/*.parquet"))


def _other_folder(folder: Path) -> str:
    table = next((file for file in sorted(folder.rglob("metadata.*")) if file.suffix in (".csv", ".parquet")), None)
    fix = f"write table:{table}?label=COLUMN" if table else f"write folder:{folder} if it has a folder for each class"
    return f"hf:{folder} cannot be loaded (neither `save_to_disk` nor .parquet files are there): {fix}."


# ---- columns ----------------------------------------------------------------------------------------------------


def _columns(datasets, part, image: str, label: str, where: str) -> tuple[str, str]:
    """The names of the columns of images and of labels."""
    features = part.features
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    texts = [name for name, feature in features.items() if name.lower() in _LABELS and _is_text_or_whole(feature)]
    return (
        _one_column(features, "image", image, pictures, _IMAGES, where),
        _one_column(features, "label", label, classes or texts, _LABELS, where),
    )


def _one_column(features, what: str, asked: str, fitting: list[str], usual: tuple[str, ...], where: str) -> str:
    if asked:
        if asked not in features:
            raise UserError(f"{where} has no column {asked!r}: it has {_named(features)}; write ?{what}=COLUMN.")
        return asked
    by_name = [name for name in fitting if name.lower() == usual[0]] or [n for n in fitting if n.lower() in usual]
    if len(fitting) == 1 or len(by_name) == 1:
        return (by_name or fitting)[0]
    if fitting:
        raise UserError(f"{where} has several columns for {what}, {_named(fitting)}: write ?{what}=COLUMN.")
    raise UserError(
        f"{where} has columns {_named(features)}, but needs one of images and one of class labels: write "
        f"?{what}=COLUMN if one of these is meant."
    )


def _named(columns) -> str:
    return ", ".join(list(columns)[:_NAMED])


def _is_text_or_whole(feature) -> bool:
    """Whether the cells of a column are texts, whole numbers or yes and no."""
    kind = str(getattr(feature, "dtype", ""))
    return kind in ("string", "large_string", "bool") or kind.lstrip("u").startswith("int")


def _column_remark(part, image: str, label: str, asked: bool, where: str) -> list[Finding]:
    """Which columns were taken, if there are others, and they were not asked for."""
    others = [name for name in part.features if name not in (image, label)]
    if asked or not others:
        return []
    what = statement("columns_of_library", where=where, image=image, label=label, others=others[:_NAMED])
    return [Finding("note", what)]


# ---- labels -----------------------------------------------------------------------------------------------------


def _classes(part, column: str, where: str) -> tuple[list[str | None], list[str]]:
    """The class name of each image (None without a label), and all class names in order."""
    feature, values = part.features[column], list(part[column])
    if names := _names(feature):
        return [_name(value, names, where) for value in values], names
    if not _is_text_or_whole(feature):
        kind = getattr(feature, "dtype", None) or type(feature).__name__
        raise UserError(f"{where}: column {column!r} holds {kind}, not classes: write ?label=COLUMN.")
    labels = [None if _is_none(value) else str(value) for value in values]
    return labels, sorted({name for name in labels if name is not None}, key=_as_number)


def _names(feature) -> list[str]:
    """The class names that the data set gives, or none."""
    return list(getattr(feature, "names", None) or [])


def _name(value: Any, names: list[str], where: str) -> str | None:
    if value is None or value == -1:
        return None
    if not 0 <= value < len(names):
        raise UserError(f"{where} has the label {value}, but {len(names)} class names: save it again.")
    return names[value]


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (value == -1 and value is not True)


def _as_number(name: str) -> tuple[float, str]:
    return (float(name), name) if name.lstrip("-").isdecimal() else (float("inf"), name)


# ---- images -----------------------------------------------------------------------------------------------------


def _part(name: str, part, column: str, label: str, where: str) -> Part:
    labels, class_names = _classes(part, label, f"{where}, split {name}")
    pictures = part.with_format(None) if hasattr(part, "with_format") else part  # a saved format would give tensors

    def image_at(row: int) -> Image.Image:
        place = f"{where}, split {name}, row {row}"
        try:
            image = _as_image(pictures[row][column])
            if image is not None:
                image.load()
        except Exception as error:  # Pillow's plugins and datasets raise exceptions of many kinds
            raise UserError(f"{place} cannot be read as an image ({error}): take it out, and save again.") from error
        if image is None:
            raise UserError(f"{place} has no image in column {column!r}: take it out, and save again.")
        return image

    _check_none_missing(part, column, labels, image_at)
    return Part(name, labels, class_names, image_at)


def _check_none_missing(part, column: str, labels: list[str | None], image_at) -> None:
    """Raise at the first labelled row without an image; reads no image if the column says that none is missing."""
    stored = getattr(part, "data", None)
    if stored is None or not stored.column(column).null_count:
        return
    for row, label in enumerate(labels):
        if label is not None:
            image_at(row)


def _as_image(value: Any) -> Image.Image | None:
    """An image as the library gives it: decoded, or as {"bytes", "path"}; None if there is none."""
    if value is None or isinstance(value, Image.Image):
        return value
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if not value:
        return None
    return Image.open(BytesIO(value) if isinstance(value, bytes) else value)

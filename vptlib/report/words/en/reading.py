"""Sentences on how images and tables were read (`vptlib.data`)."""

from vptlib.report.words.en.base import says
from vptlib.wording import listed, many

# ---- how images were read (vptlib.data.listing, vptlib.data.folders, vptlib.data.readers) ----------------------------


@says
def spellings_joined(where: str, name: str, spellings: list[str]) -> str:
    return f"{where}: {listed(spellings)} are taken as one class, {name!r}. Rename one of them if they are not."


@says
def folders_are_classes(folder: str, classes: int) -> str:
    return f"{folder}/ holds {many(classes, 'folder')} with images: each is a class."


@says
def folders_are_splits(folder: str, train: list[str], test: list[str]) -> str:
    said = [f"{_folders(names)} {role}" for names, role in ((train, "to train on"), (test, "to test on")) if names]
    return f"{folder}/ holds splits, with classes in them: {', '.join(said)}."


@says
def splits_in_classes(folder: str, classes: int, train: list[str], test: list[str]) -> str:
    return (
        f"{folder}/ holds {many(classes, 'class folder')} with splits in them: {_folders(train)} to train on, "
        f"{_folders(test)} to test on."
    )


@says
def held_out_tests(folder: str, name: str) -> str:
    return (
        f"{folder}/ has no test folder, so the images of {name}/ are the test. Images to choose settings by are taken "
        "from the training images."
    )


@says
def quarter_tests(groups: bool) -> str:
    part = "about a quarter of all images, in whole groups," if groups else "a quarter of all images"
    return f"No images are marked as the test: {part} tests, always the same."


@says
def folder_entered(folder: str, inner: str) -> str:
    return f"{folder}/ only holds {inner}/, where the images are."


@says
def folder_passed_over(name: str, folders: int, images: int) -> str:
    which = f"{name}/ was" if folders == 1 else f"{folders:,} folders {name}/ were"
    return f"{which} passed over, with {many(images, 'image')}: by the name, no class and no split."


@says
def doubtful_class(name: str, images: int) -> str:
    return (
        f"{name}/, with {many(images, 'image')}, is taken as a class. Leave it out with ?ignore={name} if it is none."
    )


@says
def split_without_classes(name: str, images: int) -> str:
    return (
        f"{name}/ was passed over: it holds {many(images, 'image')}, but no class folders, so there are no labels. "
        "Sort the images into folders for the classes to use them."
    )


@says
def images_without_class(folder: str, images: int, first: str) -> str:
    have = "lies" if images == 1 else "lie"
    return (
        f"{many(images, 'image')} {have} in {folder}/ next to the folders in it, and {was_or_were(images)} passed over "
        f"({first}). Move them into the folder of their class."
    )


@says
def deeper_folders(classes: int, first: str, inner: list[str]) -> str:
    return (
        f"{many(classes, 'class folder')} {_holds(classes)} folders again, such as {first}/ with {_folders(inner)}: "
        "all images in them belong to the class."
    )


@says
def folders_without_images(folder: str, names: list[str], folders: int) -> str:
    more = f" and {many(folders - len(names), 'other')}" if folders > len(names) else ""
    return f"{folder}/ holds folders without images, which are no class: {_folders(names)}{more}."


@says
def files_passed_over(ending: str, files: int, classes: dict[str, int], way: str, package: str) -> str:
    kind = f"{ending} file" if ending else "file without an ending"
    most = sorted(classes.items(), key=lambda item: -item[1])
    shown = [f"{name!r}: {n:,}" for name, n in most[:5]] + ([f"{len(most) - 5} more classes"] if len(most) > 5 else [])
    of_classes = f" ({', '.join(shown)})" if shown else ""
    ways = {
        "convert": "Save such files as PNG or JPEG to use them.",
        "install": f"Install {package} to use them: pip install {package}.",
        "unpack": "Unpack such files if they hold images.",
        "frames": "Save the frames of videos as images to use them.",
        "name it": "Give images the ending of their format to use them.",
    }
    many_files = many(files, kind) if ending else f"{files:,} {'file' if files == 1 else 'files'} without an ending"
    return f"{many_files} {was_or_were(files)} passed over{of_classes}. {ways[way]}"


@says
def no_images_passed_over(files: int, endings: dict[str, int]) -> str:
    shown = [f"{n:,} {ending}" for ending, n in endings.items()]
    rest = files - sum(endings.values())
    return f"{many(files, 'file')} of other kinds {was_or_were(files)} passed over: {listed([*shown, *_others(rest)])}."


@says
def hidden_passed_over(images: int, first: str) -> str:
    return (
        f"{many(images, 'image')} {was_or_were(images)} passed over, because a name begins with a dot "
        f"({first}). Rename the "
        "file or folder to use it."
    )


@says
def link_in_a_circle(links: int, first: str) -> str:
    lead = "leads" if links == 1 else "lead"
    return f"{many(links, 'link')} {lead} back to a folder above, and {was_or_were(links)} not followed: {first}."


@says
def ignored_as_asked(images: dict[str, int]) -> str:
    shown = [f"{name}/ ({many(n, 'image')})" for name, n in images.items()]
    return f"Left out, as you asked: {listed(shown)}."


@says
def clutter_class(name: str) -> str:
    return f"{name!r} is a class of images that show none of the others. Leave it out with ?ignore={name} if you want."


@says
def files_look_like_masks(images: int, first: str) -> str:
    return (
        f'{many(images, "image")} {"has" if images == 1 else "have"} the name of another image and "mask" ({first}), '
        "and count as images of the class. Move them out if they are masks."
    )


@says
def classes_without_test(classes: int, names: list[str]) -> str:
    more = f" and {many(classes - len(names), 'other')}" if classes > len(names) else ""
    have = "has" if classes == 1 else "have"
    return (
        f"{many(classes, 'class') if classes == 1 else f'{classes:,} classes'} {have} no test image: "
        f"{', '.join(map(repr, names))}{more}. The accuracy is not that of {'this class' if classes == 1 else 'these'}."
    )


@says
def unreadable_left_out(files: int, parts: list[dict], names: list[str]) -> str:
    shown = [f"{part['class']!r} in {part['split']}: {part['files']:,}" for part in parts[:5]]
    more = f", and {len(parts) - 5} more" if len(parts) > 5 else ""
    return (
        f"{many(files, 'file')} {was_or_were(files)} left out, because they are not whole images "
        f"({', '.join(shown)}{more}). "
        f"Among them: {', '.join(names)}."
    )


def _folders(names: list[str]) -> str:
    return listed(f"{name}/" for name in names)


def _others(number: int) -> list[str]:
    return [many(number, "other")] if number else []


def was_or_were(number: int) -> str:
    return "was" if number == 1 else "were"


def _holds(number: int) -> str:
    return "holds" if number == 1 else "hold"


@says
def name_not_utf8(where: str, name: str) -> str:
    return f"{where}: a name is not UTF-8, and is shown as '{name}'. Rename it to have it shown as it was meant."


# ---- how a table was read (vptlib.data.table_files, columns, places, tables) ----------------------------------------


@says
def table_encoding(table: str, encoding: str, words: list[str]) -> str:
    if not words:
        return f"{table} was read as {encoding}."
    return (
        f"{table} is not UTF-8, and was read as {encoding}, so that it has words such as "
        f"{listed(map(repr, words))}. If they are wrong, write ?encoding=NAME."
    )


@says
def table_separator(table: str, separator: str) -> str:
    return f"The cells of {table} are separated by {separator}."


@says
def table_columns(table: str, taken: dict[str, str]) -> str:
    return f"{table}: {listed(f'column {name!r} is taken for {what}' for what, name in taken.items())}."


_PATHS_DIFFERED = {
    "backslashes": "backslashes",
    "spaces": "spaces around a name",
    "accents": "letters and accents stored apart",
    "case": "capital or small letters",
    "stored": "names stored in the encoding of the table",
}


@says
def table_paths_understood(table: str, differed: dict[str, int], written: str, meant: str) -> str:
    kinds = listed(f"{_PATHS_DIFFERED[kind]} (in {many(rows, 'row')})" for kind, rows in differed.items())
    taken = f"The one file that fits was taken: '{written}' is '{meant}'."
    return f"{table}: paths differ from their files by {kinds}. {taken}"


@says
def table_rows_repeated(table: str, rows: int, images: int) -> str:
    repeat = "repeats an image" if rows == 1 else "repeat images"
    return f"{many(rows, 'row')} of {table} {repeat} of an earlier row. Each image counts once: {images:,} in all."


@says
def table_words_for_nothing(table: str, column: str, words: list[str]) -> str:
    names = "is taken as a name" if len(words) == 1 else "are taken as names"
    return f"{table}: in column {column!r} {listed(map(repr, words))} {names}. Only an empty cell counts as empty."


@says
def table_no_groups(table: str, column: str) -> str:
    return f"{table}: column {column!r} is empty, so that no groups are kept apart."


@says
def table_groups_empty(table: str, column: str, images: int) -> str:
    have = "1 image has" if images == 1 else f"{images:,} images have"
    return f"{table}: {have} no group in column {column!r}. Each is taken as a group of its own."


@says
def table_groups_joined(table: str, column: str, spellings: list[str]) -> str:
    example = listed(map(repr, spellings))
    return f"{table}: groups in column {column!r} that differ in spelling only, such as {example}, are one."


@says
def table_splits(table: str, column: str, train: list[str], test: list[str]) -> str:
    tests = listed(map(repr, test)) if test else "nothing"
    trains = listed(map(repr, train)) if train else "nothing"
    return f"{table}: in column {column!r} {trains} trains and {tests} tests."


# ---- how a data set of another library was read (vptlib.data.library_parts, hugging_face) ----------------------------


@says
def splits_of_library(where: str, train: list[str], test: list[str], left_out: list[str]) -> str:
    trains = f"{where}: split {listed(map(repr, train))} trains"
    tests = f"split {listed(map(repr, test))} tests" if test else "a quarter of its images tests"
    rest = f" Not used: {listed(map(repr, left_out))}." if left_out else ""
    return f"{trains}, and {tests}.{rest}"


@says
def columns_of_library(where: str, image: str, label: str, others: list[str]) -> str:
    return (
        f"{where}: images are taken from column {image!r} and labels from {label!r}, not from "
        f"{listed(map(repr, others))}."
    )


@says
def images_without_label(where: str, counts: dict[str, int]) -> str:
    of_each = listed(f"{many(number, 'image')} of {name!r}" for name, number in counts.items())
    return f"{where}: passed over without a label: {of_each}."


@says
def classes_by_name(where: str, first: str, parts: list[str]) -> str:
    return (
        f"{where}: split {listed(map(repr, parts))} counts its classes in another order than {first!r}. "
        "They are matched by their names."
    )


@says
def classes_without_images(where: str, classes: int, first: list[str]) -> str:
    have = "1 class has" if classes == 1 else f"{classes:,} classes have"
    return f"{where}: {have} no image, and {'is' if classes == 1 else 'are'} left out (such as {first[0]!r})."

"""The text of a file that does not say how its letters are stored.

UTF-8 and UTF-16 can be told from the bytes alone. Other encodings cannot: nearly all bytes are letters in each of them.
So a reading needs evidence: it names files that are there, or it is the only one in which the letters could be words.
Where two readings are left, the user has to choose. (Counting frequent letters, as detectors do, is wrong for tables:
a few short words are not enough. In our trials it took クラック in cp932 for Korean.)
"""

import codecs
import os
import re
import unicodedata
from itertools import islice, pairwise
from pathlib import Path

from vptlib.data.formats import suffixes
from vptlib.errors import UserError

UTF_8 = "UTF-8"
# Tried in this order where the bytes are not UTF. The Chinese and Korean ones are the narrow forms: the wide ones
# (gb18030, cp949) give letters to nearly all bytes.
CANDIDATES = ("cp932", "euc_jp", "gb2312", "big5", "euc_kr", "cp1252", "cp1251")
_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_FIELDS_TRIED = 2_000  # as evidence
_BETWEEN_FIELDS = re.compile(r'[,;\t|"\r\n]+')


def text_of(file: Path, encoding: str = "") -> tuple[str, str]:
    """The text of a file, and the encoding in which it was read.

    Args:
        file: the file; names in it count from its folder.
        encoding: as the user gave it; "" to find it.

    Raises:
        UserError: the file cannot be read, is not text, or its encoding cannot be found.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): allow it to be read.") from error
    if encoding:
        return _in_encoding(file, raw, encoding), encoding
    found = utf_text(raw)
    if found is not None:
        return found
    if b"\0" in raw:
        raise UserError(f"{file} cannot be read as a table or list (it is not text): save it as text, in UTF-8.")
    return _recognised(file, raw)


def utf_text(raw: bytes) -> tuple[str, str] | None:
    """Text in UTF-8, UTF-16 or UTF-32, with the name of the encoding; None if the bytes are in none of them."""
    for mark, name in _BOMS.items():
        if raw.startswith(mark):
            text = _decoded(raw, name)
            return None if text is None else (text, UTF_8 if mark == codecs.BOM_UTF8 else name)
    if b"\0" in raw:
        return _utf_16_without_mark(raw)
    text = _decoded(raw, "utf-8")
    return None if text is None else (text, UTF_8)


def _utf_16_without_mark(raw: bytes) -> tuple[str, str] | None:
    """Line ends and commas are ASCII in every table, so the order of bytes that gives more ASCII is the right one."""
    readings = {name: text for name in ("UTF-16-LE", "UTF-16-BE") if (text := _decoded(raw, name)) is not None}
    proper = {name: text for name, text in readings.items() if "\0" not in text and re.search("[\r\n]", text)}
    if not proper:
        return None
    name = max(proper, key=lambda name: sum(map(str.isascii, proper[name])))
    return proper[name], name


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeError:
        return None


def _in_encoding(file: Path, raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding)
    except UnicodeError as error:
        raise UserError(f"{file} is not in {encoding} ({error}): write another ?encoding=, or leave it out.") from error
    except (LookupError, ValueError) as error:
        raise UserError(
            f"{file}: there is no text encoding {encoding!r}: write ?encoding=cp932, cp1252, euc_jp or utf-8."
        ) from error
    return text.removeprefix("\ufeff")


# ---- evidence ---------------------------------------------------------------------------------------------------


def _recognised(file: Path, raw: bytes) -> tuple[str, str]:
    """The text in the only encoding that has evidence for it, and that encoding."""
    readings = {name: text for name in CANDIDATES if (text := _decoded(raw, name)) is not None}
    fields = {name: _strange_fields(text) for name, text in readings.items()}
    files = {name: _files_named(file.parent, found, name) for name, found in fields.items()}
    most = max(files.values(), default=0)
    if most:
        left = [name for name in readings if files[name] == most]
    else:
        left = [name for name in readings if not any(map(_is_path, fields[name]))]
    if len({readings[name] for name in left}) > 1 or not most:
        left = [name for name in left if all(_could_be_words(name, field) for field in fields[name])]
    if "euc_jp" in left and any(_kana_in(field) > 1 for field in fields["euc_jp"]):
        left = ["euc_jp"]  # two kana in a row are no accident
    if len({readings[name] for name in left}) == 1:
        return readings[left[0]], left[0]
    raise UserError(_undecided(file, {name: fields[name][0].strip()[:40] for name in left}))


def _strange_fields(text: str) -> list[str]:
    """The first fields that have letters outside ASCII."""
    fields = (field for field in _BETWEEN_FIELDS.split(text) if not field.isascii())
    return list(islice(fields, _FIELDS_TRIED))


def _undecided(file: Path, samples: dict[str, str]) -> str:
    if not samples:
        return (
            f"{file} cannot be read as a table or list (it is not UTF-8, and no other encoding is sure): write "
            "?encoding=NAME (such as cp932 or cp1252), or save it in UTF-8."
        )
    offers = ", or ".join(f"?encoding={name} to read {text!r}" for name, text in samples.items())
    return f"{file} cannot be read as a table or list (it is not UTF-8, and several encodings fit): write {offers}."


def _is_path(field: str) -> bool:
    return field.strip().lower().endswith(suffixes())


def _files_named(folder: Path, fields: list[str], encoding: str) -> int:
    """How many of the fields are files, with names in UTF-8 or in the encoding of the fields."""
    named = [field.strip().replace("\\", "/") for field in fields]
    stored = (in_encoding(folder, field, encoding) for field in named)
    places = zip((folder / field for field in named), stored, strict=True)
    return sum(os.path.isfile(place) or (other is not None and os.path.isfile(other)) for place, other in places)


def in_encoding(folder: Path, written: str, encoding: str) -> Path | None:
    """The path of a file whose name is stored in `encoding`; None if that is UTF or has no such letters."""
    if not encoding or written.isascii() or encoding.lower().startswith("utf"):
        return None
    try:
        return folder / os.fsdecode(written.strip().replace("\\", "/").encode(encoding))
    except (LookupError, ValueError):
        return None


# ---- whether letters could be words ----------------------------------------------------------------------------


def _could_be_words(encoding: str, field: str) -> bool:
    """Whether a reading of a field looks like what people write, and not like letters of another encoding."""
    if encoding in _LETTERS:
        return all(_is_european(word, *_LETTERS[encoding]) for word in field.split())
    strange = [letter for letter in field if not letter.isascii()]
    if not {_script(letter) for letter in strange} <= _SCRIPTS[encoding]:
        return False
    if re.search(r"[^\x00-\x7f][a-z]", field):  # Asian letters are not followed by small Latin ones
        return False
    return _is_common(encoding, field, [letter for letter in strange if _script(letter) == "CJK"])


_JAPANESE = {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "FULLWIDTH", "IDEOGRAPHIC", ""}
_SCRIPTS = {
    "cp932": _JAPANESE | {"HALFWIDTH"},
    "euc_jp": _JAPANESE,
    "gb2312": {"CJK", "FULLWIDTH", "IDEOGRAPHIC", ""},
    "big5": {"CJK", "FULLWIDTH", "IDEOGRAPHIC", ""},
    "euc_kr": {"HANGUL", "FULLWIDTH", "IDEOGRAPHIC", ""},
}
# Each standard puts the common characters first; these are the bytes of the first rare one.
_RARE = {"cp932": b"\x98\x9f", "euc_jp": b"\xd0\xa1", "gb2312": b"\xd8\xa1", "big5": b"\xc9\x40", "euc_kr": b"\xff"}


def _script(letter: str) -> str:
    """The first word of a letter's name, such as "LATIN"; "" for signs that every script uses."""
    name = unicodedata.name(letter, "UNKNOWN")
    is_sign = unicodedata.category(letter)[0] in "PSNZ" and not name.startswith("HALFWIDTH")
    return "" if is_sign else name.split()[0]


def _is_common(encoding: str, field: str, characters: list[str]) -> bool:
    """Whether a field has a common character, if it has any, and none of the signs of a wrong reading."""
    stored = [character.encode(encoding) for character in characters]
    if encoding == "big5" and stored and all(two[-1] < 0x80 for two in stored):  # é and the letter after it
        return False
    if encoding == "cp932" and re.search(
        r"[\uff61-\uff65]|[A-Za-z][\uff66-\uff9f]|[\uff66-\uff9f][A-Za-z]|[a-z][\u4e00-\u9fff]", field
    ):  # signs of EUC, or letters with accents
        return False
    return not stored or min(stored) < _RARE[encoding] or _kana_in(field) > 0


def _kana_in(field: str) -> int:
    return sum(_script(letter) in ("HIRAGANA", "KATAKANA") for letter in field)


_LETTERS = {
    "cp1252": ("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŒœŠšŽžŸ", 2),
    "cp1251": ("АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдеёжзийклмнопрстуфхцчшщъыьэюя", 99),
}
_SIGNS_WITHIN = "’‘‐"
_SIGNS_AROUND = "“”„–—…«»°º²³µ·×€£¥§©®™½¼±¿¡№\xa0"


def _is_european(word: str, letters: str, most_in_a_row: int) -> bool:
    """Whether a word has letters where languages have them.

    Signs do not stand between letters, capitals do not follow small letters, and only Cyrillic words have many letters
    outside ASCII in a row and none of ASCII.
    """
    strange = [letter for letter in word if not letter.isascii()]
    if not strange:
        return True
    if any(letter not in letters + _SIGNS_WITHIN + _SIGNS_AROUND for letter in strange):
        return False
    runs = [len(run) for run in re.findall(f"[{letters}]+", word)]
    if any(run > most_in_a_row for run in runs) or re.search(
        f"(^…|[{letters}a-z][{_SIGNS_AROUND}])[{letters}a-z]", word
    ):
        return False
    has_latin = re.search("[A-Za-z]", word) is not None
    if runs and (has_latin if most_in_a_row > 2 else not has_latin and max(runs) > 1):
        return False
    return not any(a.islower() and b.isupper() and not b.isascii() for a, b in pairwise(word))

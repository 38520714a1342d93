"""The texts of a ledger's entries in an SQLite file, to read them and to plant others."""

import hashlib
import json
import sqlite3
from pathlib import Path


def text_of(store: Path, number: int, model: str = "cells.ledger") -> str:
    """The hash of an entry and its JSON."""
    with sqlite3.connect(store / "mlflow.db") as database:
        query = "SELECT value FROM model_version_tags WHERE key = 'vptlib.entry' AND name = ? AND version = ?"
        (text,) = database.execute(query, (model, number)).fetchone()
    database.close()
    return text


def rewrite(store: Path, number: int, text: str) -> None:
    """Put another text in the place of an entry's, in every ledger of the store."""
    with sqlite3.connect(store / "mlflow.db") as database:
        query = "UPDATE model_version_tags SET value = ? WHERE key = 'vptlib.entry' AND version = ?"
        database.execute(query, (text, number))
    database.close()


def with_hash(parts: dict) -> str:
    """The text of an entry, as the ledger writes it."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}"


def parts_of(store: Path, number: int) -> dict:
    """What is in an entry, without its hash."""
    return json.loads(text_of(store, number).partition(" ")[2])

"""What judgement found, apart from the words for it: a code, with the numbers and names that a sentence needs."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Statement:
    """A finding that `vptlib.report.words` turns into a sentence.

    Attributes:
        code: which finding; each language has one sentence for it.
        values: plain Python values by name, or further statements; text is a code itself or the name of a method.
    """

    code: str
    values: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Code and values in one dictionary, for JSON."""
        inner = {name: v.plain() if isinstance(v, Statement) else v for name, v in self.values.items()}
        return {"code": self.code} | inner

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Statement":
        """The statement that `plain` was made from."""
        inner = {name: v for name, v in plain.items() if name != "code"}
        values = {name: cls.of(v) if isinstance(v, dict) and "code" in v else v for name, v in inner.items()}
        return cls(plain["code"], values)


def statement(code: str, **values: Any) -> Statement:
    """A `Statement`. Write the code as a literal: the tests find the codes by reading these calls."""
    return Statement(code, values)

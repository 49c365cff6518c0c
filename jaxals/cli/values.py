"""What words of the shell stand for: whole numbers, numbers, names of things, text. Host side."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from cyclopts import UNSET, Token, convert


def read_value(kind: Any, tokens: Sequence[Token]) -> Any:
    """Turn what follows an option into a value of the option's type.

    Numbers and names are read here, for cyclopts rounds 2.5 to 2, takes "none" for None, and minds case.

    Raises:
        ValueError: It is none; the message goes on from the option's name.

    Example:
        >>> from typing import Literal
        >>> from cyclopts.token import Token
        >>> from jaxals.cli.values import read_value
        >>> read_value(int, [Token(value="1e2")]), read_value(Literal["cosine", "dot"], [Token(value="Dot")])
        (100, 'dot')
    """
    if tokens[0].implicit_value is not UNSET:  # of a flag, such as --no-value
        return tokens[0].implicit_value
    if NoneType in get_args(kind):  # options are left out, not set to None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    readers = {int: _integer, float: _number, str: recover_text, Path: _path}
    if len(tokens) == 1 and get_origin(kind) is Literal:
        return _name(tokens[0].value, get_args(kind))
    if len(tokens) == 1 and kind in readers:
        return readers[kind](tokens[0].value)
    return convert(kind, [recover_text(token.value) for token in tokens])


def read_source(kind: Any, tokens: Sequence[Token]) -> str:
    """Take the name of a data set or of its files, byte for byte."""
    _path(tokens[0].value)
    return tokens[0].value


def read_metrics(kind: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Take names of metrics in any case, with spaces or commas between them."""
    names = (name.strip().lower() for token in tokens for name in token.value.split(","))
    return tuple(name for name in names if name)


def require_some(kind: Any, values: Sequence[str] | None) -> None:
    """Refuse an option that takes values and was given none."""
    if values in ((), []):
        raise ValueError("must have a value behind it")


def recover_text(word: str) -> str:
    """Read a word as UTF-8 where Python took the shell for ASCII and kept its bytes.

    Example:
        >>> from jaxals.cli.values import recover_text
        >>> recover_text("caf" + "é".encode().decode("ascii", "surrogateescape")) == "café"
        True
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        try:
            return word.encode("ascii", "surrogateescape").decode()
        except UnicodeError:
            return word
    return word


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        try:
            value = float(word)
            if value.is_integer():
                return int(value)
        except ValueError:
            pass
        raise ValueError(f"must be an integer; got {word!r}") from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"must be a number; got {word!r}") from None


def _path(word: str) -> Path:
    with contextlib.suppress(UnicodeEncodeError):  # of half a surrogate pair, which no shell gives
        if word and b"\0" not in os.fsencode(word):
            return Path(word)
    raise ValueError(f"must be a path; got {word!r}")


def _name(word: str, names: Sequence[str]) -> str:
    by_folded = {name.lower(): name for name in names}
    folded = word.strip().lower().replace("_", "-")
    if folded not in by_folded:
        *first, last = names
        listed = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"must be {listed}; got {word!r}")
    return by_folded[folded]

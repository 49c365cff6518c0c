"""What is wrong with a command, in one sentence. Host side."""

import difflib
import re
from collections.abc import Sequence

from cyclopts import (
    ArgumentCollection,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from jaxals.cli.commands import app

_NUMBER = re.compile(r"-[.\d]")
# Of advice alone: a setting that is wrong is named as the library names it.
_WORDS = [
    (re.compile(r'`resume="anyway"`'), "`--anyway`"),
    (re.compile(r"`(\w+)=True`"), r"`--\1`"),
    (re.compile(r"`(\w+)=None`"), r"`--no-\1`"),
    (re.compile(r'`(\w+)="?([^`"]+)"?`'), r"`--\1 \2`"),
    (re.compile(r"(the column by) `(\w+)`"), r"\1 `--\2`"),
    (re.compile(r"lower `k`"), "lower `--holdout`"),
    (re.compile(r"(leave|lower|raise) `(objective|alpha|regularization)`"), r"\1 `--\2`"),
    (re.compile(r"raise `unobserved_weight`"), "raise `--unobserved-weight`"),
    (re.compile(r"`jaxals\.tune`"), "`jaxals tune`"),
]


def explain(error: CycloptsError) -> str:
    """Say what was wrong with a command that could not be read.

    Options that no command knows come first: what is missing is often what was misspelt.

    Example:
        >>> from cyclopts.exceptions import CycloptsError
        >>> from jaxals.cli.commands import app
        >>> from jaxals.cli.mistakes import explain
        >>> try:
        ...     app.parse_args(["fit", "plays.tsv", "--factor", "3"], exit_on_error=False, print_error=False)
        ... except CycloptsError as error:
        ...     print(explain(error))
        There is no option --factor; did you mean --factors?
    """
    command = error.command_chain[-1] if error.command_chain else ""
    if isinstance(error, UnknownCommandError):
        return _unknown("command", (error.unused_tokens or [""])[0], [name for name in app if name[0] != "-"])
    options = _options(command)
    if isinstance(error, UnknownOptionError):
        return _unknown("option", error.token.keyword or error.token.value, options)
    for word in error.unused_tokens or ():
        written = word.split("=")[0]
        if word == "--":
            break
        if word.startswith("-") and not _NUMBER.match(word) and written not in options:
            return _unknown("option", written, options)
    match error:
        case MissingArgumentError(argument=argument) if argument is not None:
            return _missing(command, argument.name, error.keyword)
        case CoercionError(argument=argument, msg=str(message)) if argument is not None and message.startswith("must"):
            return f"{argument.name} {message}."
        case CoercionError(argument=argument, token=token) if argument is not None and token and argument.hint is bool:
            return f"{argument.name} takes no value; got {token.value!r}."
        case ValidationError(argument=argument) if argument is not None:
            message, value = error.exception_message.rstrip(".").lower(), argument.value
            return f"{argument.name} {message}; got {'nothing' if value in ((), []) else value}."
        case RepeatArgumentError():
            return f"{error.token.keyword} is given twice; give it once."
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"`jaxals {command}` does not know what to do with {word!r}; see `jaxals {command} --help`."
    return str(error)


def in_words_of_the_shell(message: str) -> str:
    """Write the arguments that a message of the library advises as the command line takes them.

    Example:
        >>> from jaxals.cli.mistakes import in_words_of_the_shell
        >>> in_words_of_the_shell("There are checkpoints; go on with `resume=True`, or count by `value=None`.")
        'There are checkpoints; go on with `--resume`, or count by `--no-value`.'
    """
    for pattern, words in _WORDS:
        message = pattern.sub(words, message)
    return message


def _options(command: str) -> list[str]:
    arguments: ArgumentCollection = app[command].assemble_argument_collection() if command else ArgumentCollection()
    known = [name for argument in arguments if argument.parse for name in argument.names]
    return [name for name in known if name.startswith("--")] + ["--help", "--version"]


def _unknown(what: str, word: str, known: Sequence[str]) -> str:
    near = [name for name in known if len(word.lstrip("-")) > 1 and name.startswith(word)]
    near = near or difflib.get_close_matches(word.lower(), known, n=1)
    if near:
        return f"There is no {what} {word}; did you mean {' or '.join(near)}?"
    if what == "command":
        return f"There is no command {word!r}; there are {', '.join(known)}."
    return f"There is no option {word}; what begins with a dash and is none goes behind a -- of its own."


def _missing(command: str, name: str, keyword: str | None) -> str:
    if keyword:
        return f"{keyword} needs a value; one that begins with a dash is written {keyword}=-..."
    what = name if name.startswith("-") else f"its {name}"
    return f"`jaxals {command}` needs {what}, which is missing; see `jaxals {command} --help`."

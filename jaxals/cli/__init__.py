"""The command line, `jaxals`. Host side.

A user's mistake ends with exit code 2 and one line on stderr.
"""

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import CycloptsError

from jaxals._base.cache import use_compilation_cache
from jaxals.als.parallel.mesh import use_all_cores
from jaxals.cli.commands import app
from jaxals.cli.mistakes import explain, in_words_of_the_shell
from jaxals.cli.output import EXIT_CODES, INTERRUPTED, any_text, complain
from jaxals.errors import JaxalsError

_MISTAKE = 2
_BROKEN_PIPE = 1
# What JAX says, somewhere in its message, where there is less memory than was asked for.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its name and arguments, by default those of the process.

    Returns:
        The exit code: 0, 2 for a user's mistake, 130 when interrupted, 143 when terminated, 1 where nobody reads what
        is printed any more.
    """
    with any_text():
        code = _run(argv)
    if argv is None and code in EXIT_CODES.values():
        # Devices may still be at work on what was interrupted: to take JAX down now ends in a segmentation fault about
        # every other time (JAX 0.10, in the first trial of `tune`).
        _flush()
        os._exit(code)
    return code


def _run(argv: Sequence[str] | None) -> int:
    # On a machine with a GPU that JAX has no plugin for, it says so at length; `fit` reports the device it used.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: complain(in_words_of_the_shell(str(message)))
        try:
            if argv is None:  # in a process of its own
                use_all_cores()
                use_compilation_cache()
            arguments = sys.argv[1:] if argv is None else list(argv)
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
            _flush()  # what `| head` does not take breaks here, not at exit
            return code
        except BrokenPipeError:
            _drop_output()
            return _BROKEN_PIPE
        except CycloptsError as error:
            return _refuse(explain(error))
        except JaxalsError as error:
            return _refuse(in_words_of_the_shell(str(error)))
        except OSError as error:
            try:
                _flush()
            except OSError:  # it is stdout that takes no more
                _drop_output()
            return _refuse(_without_number(error))
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
                return _refuse(_too_little_memory(error))
            raise
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED


def _flush() -> None:
    if sys.stdout is not None:  # as it is where the shell closed it
        sys.stdout.flush()


def _drop_output() -> None:
    # The interpreter flushes once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(what: object) -> int:
    complain(what)
    return _MISTAKE


def _without_number(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}." if error.strerror else str(error)


def _too_little_memory(error: Exception) -> str:
    said = str(error).strip().split("\n")[0].rstrip(".")
    return f"There is too little memory for this ({said or 'MemoryError'}); take fewer factors, or less data."

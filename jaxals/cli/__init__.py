"""The command line, `jaxals`. Host side.

A user's mistake ends with exit code 2 and one line on stderr.
"""

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import CycloptsError

from jaxals.als.devices.mesh import use_all_cores
from jaxals.cli.commands import app
from jaxals.cli.output import EXIT_CODES, INTERRUPTED, complain
from jaxals.errors import JaxalsError

_MISTAKE = 2
_BROKEN_PIPE = 1
_ASKED_TOO_MUCH = (
    "RESOURCE_EXHAUSTED",
    "Unable to initialize backend",
)  # of JAX: more memory or devices than there are


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its name and arguments, by default those of the process.

    Returns:
        The exit code: 0, 2 for a user's mistake, 130 when interrupted, 143 when terminated, 1 where nobody reads what
        is printed any more.
    """
    code = _run(argv)
    if argv is None and code in EXIT_CODES.values():
        # Devices may still be at work on what was interrupted: to take JAX down now ends in a segmentation fault about
        # every other time (JAX 0.10, in the first trial of `tune`).
        sys.stdout.flush()
        os._exit(code)
    return code


def _run(argv: Sequence[str] | None) -> int:
    # On a machine with a GPU that JAX has no plugin for, it says so at length; `fit` reports the device it used.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: complain(message)
        try:
            if argv is None:  # in a process of its own
                use_all_cores()
            arguments = sys.argv[1:] if argv is None else list(argv)
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
            sys.stdout.flush()  # what `| head` does not take breaks here, not at exit
            return code
        except BrokenPipeError:
            # The interpreter flushes once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _BROKEN_PIPE
        except (CycloptsError, JaxalsError, OSError, MemoryError) as error:
            complain(error)
            return _MISTAKE
        except RuntimeError as error:
            if not str(error).startswith(_ASKED_TOO_MUCH):
                raise
            complain(error)
            return _MISTAKE
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED

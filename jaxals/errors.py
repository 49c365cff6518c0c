"""Every error that jaxals raises on purpose. Host side.

Each message is one sentence that says what is wrong, where, and what would be right.
"""


class JaxalsError(Exception):
    """Base of all errors that jaxals raises on purpose."""


class DataError(JaxalsError, ValueError):
    """The interactions, ids or files given cannot be used as they are."""


class UnknownIdError(DataError):
    """A raw id is not in the catalog."""


class ConfigurationError(JaxalsError, ValueError):
    """A setting lies outside the range it may have, or two settings contradict each other."""


class CheckpointError(JaxalsError):
    """A saved model or checkpoint is missing, damaged, or made by something else."""


class DamageError(CheckpointError):
    """The files of a saved model or checkpoint are not what was written."""


class NotFittedError(JaxalsError):
    """A model was asked for what it only knows after training."""


class MissingDependencyError(JaxalsError, ImportError):
    """An optional package is needed for what was asked."""


class NumericalError(JaxalsError, ArithmeticError):
    """Training produced numbers that are not finite."""

"""Interactions parted into what is trained on and what is to be found again. Host side."""

import dataclasses

from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Interactions to train on and interactions to find again, over the same catalog.

    Attributes:
        train: What the model sees.
        test: What is ranked; shares no entry with `train`.

    Raises:
        DataError: A side has no entry.

    Example:
        >>> import jaxals
        >>> from jaxals.data import Split
        >>> seen, hidden = (jaxals.Interactions.from_arrays([0, 1], items, shape=(2, 3)) for items in ([0, 1], [1, 2]))
        >>> len(Split(train=seen, test=hidden).test)
        2
    """

    train: Interactions
    test: Interactions

    def __post_init__(self) -> None:
        _require_entries(self)


@dataclasses.dataclass(frozen=True, eq=False)
class NegativesSplit:
    """A split whose held-out items are to be found among given negatives alone.

    Attributes:
        train: What the model sees.
        test: What is ranked; shares no entry with `train`.
        negatives: The items that each user's held-out ones are ranked among.

    Raises:
        DataError: A side has no entry.

    Example:
        >>> import jaxals
        >>> from jaxals.data import NegativesSplit
        >>> seen, hidden = (jaxals.Interactions.from_arrays([0, 1], items, shape=(2, 3)) for items in ([0, 1], [1, 2]))
        >>> negatives = jaxals.Interactions.from_arrays([0, 1], [2, 0], shape=(2, 3))
        >>> len(NegativesSplit(seen, hidden, negatives).negatives)
        2
    """

    train: Interactions
    test: Interactions
    negatives: Interactions

    def __post_init__(self) -> None:
        _require_entries(self)


@dataclasses.dataclass(frozen=True, eq=False)
class UserSplit:
    """A split by users: those held out have no entry in `train`, and are folded in from `given`.

    Attributes:
        train: All entries of the other users.
        given: What is folded in of the users held out, and not recommended again to them.
        test: What is ranked for the users held out; shares no entry with `given`.

    Raises:
        DataError: A side has no entry.

    Example:
        >>> import jaxals
        >>> from jaxals.data import UserSplit
        >>> train, given, test = (jaxals.Interactions.from_arrays([user], [0], shape=(2, 3)) for user in (0, 1, 1))
        >>> UserSplit(train, given, test).given.user.tolist()
        [1]
    """

    train: Interactions
    given: Interactions
    test: Interactions

    def __post_init__(self) -> None:
        _require_entries(self)


def _require_entries(split: Split | NegativesSplit | UserSplit) -> None:
    for field in dataclasses.fields(split):
        side = getattr(split, field.name)
        require_interactions(field.name, side)
        if not len(side):
            raise DataError(empty_side(field.name))


def empty_side(name: str) -> str:
    """Say that a side of a split is empty."""
    return f"`{name}` of the split has no entry; every side needs one, so hold out more or less, or filter less."

"""Machines of other sizes than there are, so that small data are cut into many classes, chunks and steps."""

import dataclasses
from typing import Any

import pytest

from jaxals.als.layout import tiles
from jaxals.als.layout.machine import MACHINES


def cut_for(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let `build_tiles` cut for machines that differ in some attributes."""
    changed = lambda platform, mesh: dataclasses.replace(MACHINES[platform or "cpu"], **changes)
    patch.setattr(tiles, "machine_of", changed)

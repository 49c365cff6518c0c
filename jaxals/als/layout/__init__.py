"""How entries are cut into blocks of fixed shape."""

from jaxals.als.layout.tiles import RowTiles as RowTiles
from jaxals.als.layout.tiles import build_tiles as build_tiles

"""What was seen: interactions, the raw ids behind them, tables on disk, what is trained on and what is held out."""

from jaxals.data.catalog import Catalog as Catalog
from jaxals.data.catalog import Side as Side
from jaxals.data.interactions import COO as COO
from jaxals.data.interactions import Interactions as Interactions
from jaxals.data.split import NegativesSplit as NegativesSplit
from jaxals.data.split import Split as Split
from jaxals.data.split import UserSplit as UserSplit

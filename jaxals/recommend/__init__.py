"""Questions to a model: recommendations, similar items, explanations, fold-in; ensembles and item models."""

from jaxals.recommend.ensemble import Ensemble as Ensemble
from jaxals.recommend.item_models import EASE as EASE
from jaxals.recommend.item_models import ItemKNN as ItemKNN
from jaxals.recommend.recommender import Recommender as Recommender
from jaxals.recommend.topk import top_k as top_k

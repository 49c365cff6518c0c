"""What to try next: at random, or by what earlier trials found. Host side.

Each proposal depends on the seed and the trials so far alone, so that a search that goes on from a file proposes what
it would have proposed without the interruption.
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxals._base.checks import require_one_of
from jaxals.errors import MissingDependencyError
from jaxals.hyper.space import Choice, LogUniform, Range, SearchSpace

Sampler = Literal["random", "tpe"]


def propose(sampler: Sampler, space: SearchSpace, seed: int, trials: Sequence[tuple[dict, float | None]]) -> dict:
    """Propose the settings of the next trial.

    Args:
        sampler: "random", or "tpe" for the tree-structured Parzen estimator of Optuna (Bergstra, Bardenet, Bengio and
            Kégl 2011), which draws more where earlier trials were good.
        space: What to draw from.
        seed: Of all proposals.
        trials: Settings and score of the earlier trials, None for the score of one that failed; more is better.

    Raises:
        ConfigurationError: There is no such sampler.
        MissingDependencyError: "tpe" without Optuna.

    Example:
        >>> import jaxals
        >>> from jaxals.hyper.samplers import propose
        >>> propose("random", jaxals.SearchSpace.preset("ials"), seed=0, trials=[])
        {'regularization': 0.0378, 'unobserved_weight': 0.0346}
    """
    require_one_of("sampler", sampler, "random", "tpe")
    own_seed = np.random.SeedSequence([seed, len(trials)])
    if sampler == "random":
        return space.draw(np.random.default_rng(own_seed))
    return _propose_tpe(space, int(own_seed.generate_state(1)[0]), trials)


def require_sampler(sampler: Sampler) -> None:
    """Refuse a sampler that is unknown, or whose package is not installed."""
    propose(sampler, SearchSpace.preset(), 0, [])


def _propose_tpe(space: SearchSpace, seed: int, trials: Sequence[tuple[dict, float | None]]) -> dict:
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError(
            '`sampler="tpe"` needs Optuna: `pip install "jaxals[tune]"`; "random" needs nothing.'
        ) from None

    def distribution(kind: Range) -> Any:
        if isinstance(kind, Choice):
            return optuna.distributions.CategoricalDistribution(kind.options)
        return optuna.distributions.FloatDistribution(kind.low, kind.high, log=isinstance(kind, LogUniform))

    distributions = {name: distribution(kind) for name, kind in space.ranges.items()}
    logging.getLogger("optuna").setLevel(logging.WARNING)  # it announces every study
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    failed = optuna.trial.TrialState.FAIL
    for settings, score in trials:
        outcome = {"state": failed} if score is None else {"value": score}
        study.add_trial(optuna.create_trial(params=settings, distributions=distributions, **outcome))
    return study.ask(distributions).params

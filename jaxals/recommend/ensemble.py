"""Ensembles: several models of one catalog whose scores are averaged, and how far they disagree. Device side."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxals._base.arguments import listed, require_indices
from jaxals._base.pytree import pytree
from jaxals.errors import ConfigurationError
from jaxals.objective.factors import Factors, require_factors, require_shape

# Scores of all items for so many users at a time.
_USERS_PER_STEP = 64


@pytree
class Ensemble:
    """Models of the same users and items; a pair's score is the mean of theirs.

    Attributes:
        user: Users' factors of every model.
        item: Items' factors of every model.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
        >>> found = jaxals.hyper.fit_many(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), seed=range(3),
        ...                               progress=False)
        >>> ensemble = jaxals.Ensemble.of([found.run(number).factors for number in found.table.index])
        >>> recommender = jaxals.Recommender(ensemble.factors, data)  # one table of 12 factors
        >>> len(recommender.recommend(7, n=5)), ensemble.user_variance().shape
        (5, (60,))
    """

    user: Float[Array, "models users factors"]
    item: Float[Array, "models items factors"]

    @classmethod
    def of(cls, models: Sequence[Factors]) -> "Ensemble":
        """Bring models of one width together.

        Args:
            models: Of the same users, items and number of factors.

        Returns:
            The ensemble, its tables stacked.

        Raises:
            ConfigurationError: There is none, or they differ in width.
            DataError: They are about different numbers of users or items.
        """
        models = listed("models", models, "a list of `Factors`")
        if not models:
            raise ConfigurationError("An ensemble needs at least one model; got none.")
        for model in models:
            require_factors("models", model)
            require_shape(model, (models[0].user.shape[0], models[0].item.shape[0]))
        widths = sorted({model.user.shape[1] for model in models})
        if len(widths) > 1:
            raise ConfigurationError(f"Models of an ensemble must have one number of factors; got {widths}.")
        return cls(jnp.stack([model.user for model in models]), jnp.stack([model.item for model in models]))

    @property
    def factors(self) -> Factors:
        """Both tables of one model that gives the mean scores (all models' factors side by side, over √models).

        1/M Σ_m x_m · y_m = (x_1, ..., x_M)/√M · (y_1, ..., y_M)/√M. Whatever ranks `Factors` ranks the ensemble. They
        minimise no objective, so leave `Recommender` without one: folding in and explaining are each model's own.
        """
        scale = self.user.shape[0] ** -0.5

        def side_by_side(tables: Float[Array, "models rows factors"]) -> Float[Array, "rows all_factors"]:
            return scale * jnp.moveaxis(tables, 0, 1).reshape(tables.shape[1], -1)

        return Factors(side_by_side(self.user), side_by_side(self.item))

    def scores(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Return the mean scores of all items for some users, by index."""
        require_indices(users)
        return jnp.mean(self._all_scores(users), axis=0)

    def known_users(self, users: Int[Array, " batch"]) -> Bool[Array, " batch"]:
        """Tell which users any of the models knows anything of."""
        require_indices(users)
        return jnp.any(self.user[:, users] != 0, axis=(0, 2))

    def known_items(self) -> Bool[Array, " items"]:
        """Tell which items any of the models knows anything of."""
        return jnp.any(self.item != 0, axis=(0, 2))

    def variance(self, users: Int[Array, " batch"]) -> Float[Array, "batch items"]:
        """Return the variance between models of each score, over the number of models; for some users, by index."""
        require_indices(users)
        return jnp.var(self._all_scores(users), axis=0)

    def user_variance(self) -> Float[Array, " users"]:
        """Return, for every user, the mean over all items of the variance between models of their scores."""
        return _user_variance(self)

    def _all_scores(self, users: Int[Array, " batch"]) -> Float[Array, "models batch items"]:
        return jnp.einsum("mbf,mif->mbi", self.user[:, users], self.item, precision="highest")


@jax.jit
def _user_variance(ensemble: Ensemble) -> Float[Array, " users"]:
    def of(user: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.mean(ensemble.variance(user[None]))

    users = jnp.arange(ensemble.user.shape[1], dtype=jnp.int32)
    return jax.lax.map(of, users, batch_size=_USERS_PER_STEP)

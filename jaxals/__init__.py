"""Differentiable alternating least squares for implicit feedback, in JAX."""

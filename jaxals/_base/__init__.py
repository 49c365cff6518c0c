"""What every floor stands on: dataclasses that JAX sees, settings refused, memory that is short, where it runs."""

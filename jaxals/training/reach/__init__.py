"""What the numbers of a run depend on beside its settings: code of the user's, and the constants that it reads."""

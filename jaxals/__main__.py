"""`python -m jaxals` is `jaxals`."""

import sys

from jaxals.cli import main

sys.exit(main())

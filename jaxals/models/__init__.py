"""What is kept of a model: folders that show damage, and files for other programs."""

from jaxals.models.model import load_model as load_model
from jaxals.models.model import save_model as save_model

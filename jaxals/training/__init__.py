"""From an objective to a model: trainers, the loop that drives them, checkpoints of where it stands."""

from jaxals._base.cache import use_compilation_cache as use_compilation_cache
from jaxals.training.checkpoint import Checkpoint as Checkpoint
from jaxals.training.checkpoint import load_checkpoint as load_checkpoint
from jaxals.training.loop import fit as fit
from jaxals.training.program import Program as Program
from jaxals.training.program import Trained as Trained
from jaxals.training.run import Progress as Progress
from jaxals.training.run import Run as Run
from jaxals.training.state import EarlyStopping as EarlyStopping
from jaxals.training.trainers import ALS as ALS
from jaxals.training.trainers import Trainer as Trainer
from jaxals.training.trainers import Training as Training

"""The public names and where each lives: what type checkers read, and what the door loads from."""

from .api import (
    create_model as create_model,
    load_dataset as load_dataset,
    predict as predict,
    run as run,
    transforms as transforms,
)
from .cards import (
    Catalogue as Catalogue,
    DatasetCard as DatasetCard,
    Edition as Edition,
    File as File,
    HubFile as HubFile,
    ImageInput as ImageInput,
    ModelCard as ModelCard,
    Probe as Probe,
    Source as Source,
    TrainerCard as TrainerCard,
    Value as Value,
    WeightsCard as WeightsCard,
)
from .engine.augment import augmentation as augmentation
from .engine.data import ArrayImages as ArrayImages, ImageSet as ImageSet, ZipImages as ZipImages
from .engine.optimizers import (
    make_optimizer as make_optimizer,
    optimizer_tensors as optimizer_tensors,
    restore_optimizer as restore_optimizer,
    scheduled_rate as scheduled_rate,
)
from .engine.order import seed_torch as seed_torch
from .engine.trainer import Job as Job, Trainer as Trainer
from .errors import (
    CheckFailed as CheckFailed,
    DataError as DataError,
    Diverged as Diverged,
    IntegrityError as IntegrityError,
    NetworkError as NetworkError,
    PluginError as PluginError,
    Problem as Problem,
    ResourceError as ResourceError,
    UnknownName as UnknownName,
    UsageError as UsageError,
    ZooError as ZooError,
)
from .hookspecs import hookimpl as hookimpl
from .plans import Plan as Plan
from .recipes import Recipe as Recipe
from .registry import Registry as Registry, list_models as list_models, load_registry as load_registry
from .results import (
    Checkpoint as Checkpoint,
    Comparison as Comparison,
    EpochResult as EpochResult,
    Prediction as Prediction,
    Predictions as Predictions,
    Progress as Progress,
    RunResult as RunResult,
    TrainState as TrainState,
)
from .store import Store as Store

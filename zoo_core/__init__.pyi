"""The public names and the modules that define them: read by type checkers and by the lazy loader."""

from .api.data import load_dataset as load_dataset
from .api.exporting import bench as bench, export as export
from .api.inference import evaluate as evaluate, predict as predict
from .api.inspection import check as check, explain as explain
from .api.models import create_model as create_model, load as load, transforms as transforms
from .api.selection import compare as compare, tune as tune
from .api.training import run as run
from .cards.components import Component as Component
from .cards.datasets import DatasetCard as DatasetCard, Edition as Edition
from .cards.fields import FrozenModel as FrozenModel
from .cards.files import File as File, HubFile as HubFile, Source as Source
from .cards.models import (
    Catalogue as Catalogue,
    ImageInput as ImageInput,
    ModelCard as ModelCard,
    ReportedAccuracy as ReportedAccuracy,
    WeightsCard as WeightsCard,
    WeightsSelection as WeightsSelection,
)
from .cards.trainers import TrainerCard as TrainerCard
from .engine.compute.losses import class_logits as class_logits, cross_entropy as cross_entropy
from .engine.compute.macro_f1 import macro_f1 as macro_f1
from .engine.compute.seeding import seed_torch as seed_torch
from .engine.data.augmentation import augmentation as augmentation
from .engine.evaluation.predictor import Predictor as Predictor
from .engine.models.unpickle import unpickle_weights as unpickle_weights
from .engine.training.examples import EvaluatedExamples as EvaluatedExamples, Examples as Examples
from .engine.training.finetune import FinetuneTrainer as FinetuneTrainer
from .engine.training.frozen_features import FrozenFeaturesTrainer as FrozenFeaturesTrainer
from .engine.training.logistic_head import LogisticHeadTrainer as LogisticHeadTrainer
from .engine.training.loop import TrainingLoop as TrainingLoop
from .engine.training.optimizers import (
    make_optimizer as make_optimizer,
    optimizer_tensors as optimizer_tensors,
    restore_optimizer as restore_optimizer,
    scheduled_rate as scheduled_rate,
)
from .engine.training.supervised import SupervisedTrainer as SupervisedTrainer
from .engine.training.trainer import Job as Job, Trainer as Trainer
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
from .events import (
    AuditNote as AuditNote,
    Checkpoint as Checkpoint,
    EpochResult as EpochResult,
    Event as Event,
    Predictions as Predictions,
    Progress as Progress,
    TrainState as TrainState,
)
from .exported.description import Description as Description, Measured as Measured, Parity as Parity
from .exported.files import open_exported as open_exported
from .exported.model import ExportedModel as ExportedModel
from .hookspecs import hookimpl as hookimpl
from .images.image_sets import (
    ArrayImages as ArrayImages,
    FolderImages as FolderImages,
    ImageSet as ImageSet,
    ZipImages as ZipImages,
)
from .multi_label import MultiLabelTable as MultiLabelTable
from .predictions import Prediction as Prediction, PredictionTable as PredictionTable
from .recipes.plan import Plan as Plan
from .recipes.recipe import Recipe as Recipe
from .registry.builtin import (
    FinetuneSettings as FinetuneSettings,
    FrozenFeaturesSettings as FrozenFeaturesSettings,
    LogisticHeadSettings as LogisticHeadSettings,
    SupervisedSettings as SupervisedSettings,
)
from .registry.registry import Registry as Registry, list_models as list_models, load_registry as load_registry
from .results import (
    Comparison as Comparison,
    Evaluation as Evaluation,
    RunResult as RunResult,
)
from .runs.backbones import BackboneRanking as BackboneRanking, BackboneScore as BackboneScore
from .runs.history import list_runs as list_runs
from .runs.summary import RunSummary as RunSummary
from .runs.tuning import Gain as Gain, Trial as Trial, Tuning as Tuning
from .store.readers import gunzip as gunzip, rezip as rezip
from .store.store import Store as Store

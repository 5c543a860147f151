"""The options of training that the recipes share, and the experiment that they make."""

from dataclasses import dataclass
from functools import partial

from fnet import optim
from fnet.data import Preprocess, steps_per_epoch
from fnet.losses import cross_entropy
from fnet.nn import Model, Params
from fnet.run.config import Config as CommonConfig
from fnet.run.recipe import Experiment
from fnet.run.splits import Splits
from fnet.tree import Tree
from recipes import choices


@dataclass(frozen=True)
class TrainingConfig(CommonConfig):
    """Options of how a network is trained, and those of all recipes.

    A default here is what runs had before there was the option: a record that lacks it is read so.
    """

    optimizer: choices.OptimizerName = "adam"
    """momentum, nesterov: SGD with a momentum of 0.9; muon: of convolutions, the rest with Adam."""
    lr: float = 1e-3
    """The learning rate; of one_cycle the highest."""
    schedule: choices.ScheduleName = "constant"
    """one_cycle: up and down once, in straight lines; plateau: see `optim.plateau`."""
    warmup: float = 0.2
    """one_cycle: the share of the steps in which the learning rate goes up."""
    weight_decay: float | None = None
    """Decoupled with muon and adamw, else L2. None: 0.01 with adamw, else 0."""
    adam_lr: float = 0.25
    """muon: the learning rate of the parameters that Adam trains, as a share of lr."""
    muon_linears: bool = False
    """muon: let it train the hidden linear layers, too."""
    label_smoothing: float = 0.0
    """The share of each label that is spread over all classes."""
    average: float = 0.0
    """The decay of an average of the weights, which is what is evaluated and kept; 0: none."""
    fresh_statistics: int = 0
    """Training batches on which batch norm's statistics are taken anew before each evaluation."""
    sizes: tuple[int, ...] = ()
    """The shorter side of the training images in each of the first epochs, such as 24 24 28."""
    augment: choices.AugmentName = "none"
    """What is done to the training images at random; see `choices.augment`."""
    crop: int = 4
    """The pixels by which crop shifts an image at most."""
    cutout: int = 0
    """The side in pixels of a black square on each training image; 0: none."""


def experiment(
    config: TrainingConfig,
    splits: Splits,
    model: Model,
    preprocess: Preprocess,
    *,
    tx: optim.GradientTransformation | None = None,
    plateau: optim.Plateau | None = None,
) -> Experiment:
    """Return the experiment of a config.

    Args:
        config: the options.
        splits: the data.
        model: the network.
        preprocess: of training and evaluation.
        tx: the optimizer, without averages; None: that of the config.
        plateau: of the schedule "plateau"; None: the default one.
    """
    if tx is None:
        tx = optimizer(config, splits)
    if plateau is None and config.schedule == "plateau":
        plateau = optim.plateau(config.lr)
    if config.average:
        tx = optim.chain(tx, optim.ema_params(config.average))
    return Experiment(
        model=model,
        tx=tx,
        loss=partial(cross_entropy, label_smoothing=config.label_smoothing),
        preprocess=preprocess,
        augment=choices.augment(
            config.augment, crop=config.crop, cutout=config.cutout, seed=config.seed
        ),
        eval_params=averaged if config.average else lambda params, opt_state: params,
        plateau=plateau,
        fresh_statistics=config.fresh_statistics,
        sizes=config.sizes,
    )


def optimizer(config: TrainingConfig, splits: Splits) -> optim.GradientTransformation:
    """Return the optimizer of a config, with its schedule."""
    steps = config.epochs * steps_per_epoch(len(splits.train), config.batch_size)
    rate = schedule(config, config.lr, steps)
    if config.optimizer != "muon":
        return choices.optimizer(config.optimizer, rate, weight_decay=config.weight_decay)
    others = schedule(config, config.lr * config.adam_lr, steps)
    hidden = config.muon_linears
    return choices.muon(
        rate, others, config.weight_decay or 0.0, classes=len(splits.train.classes) if hidden else 0
    )


def schedule(config: TrainingConfig, peak: float, steps: int) -> optim.Hyper:
    """Return the learning rate of a run of so many steps."""
    return one_cycle(config, peak, steps) if config.schedule == "one_cycle" else peak


def one_cycle(config: TrainingConfig, peak: float, steps: int) -> optim.Schedule:
    """Return the learning rate that goes up and down once in a run of so many steps."""
    return optim.schedules.one_cycle(peak, steps, pct_start=config.warmup, anneal="linear")


def averaged(params: Params, opt_state: Tree) -> Params:
    """Return the params with the average of the weights that the optimizer keeps."""
    return params._replace(trainable=optim.averaged_params(opt_state, params.trainable))

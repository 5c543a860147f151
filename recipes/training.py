"""The options of training that the recipes share, and the experiment that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from fnet import optim
from fnet.data import Normalize, Preprocess, normalize_of, steps_per_epoch
from fnet.losses import cross_entropy
from fnet.nn import Model, Params
from fnet.nn.head import head, trainable_names
from fnet.nn.whitening import first_convolution, whitened
from fnet.run.config import Config as CommonConfig
from fnet.run.recipe import Experiment
from fnet.run.splits import Splits
from fnet.tree import Tree
from recipes import choices


@dataclass(frozen=True)
class TrainingConfig(CommonConfig):
    """Options of how a network is trained, and those of all recipes.

    The defaults are those of the time before an option existed: an older record is read with them.
    """

    optimizer: choices.OptimizerName = "adam"
    """The optimizer; momentum and nesterov are SGD with momentum 0.9.
    muon: Muon for the convolutions, Adam for all other parameters."""
    lr: float = 1e-3
    """The learning rate: the maximum of one_cycle, the initial value of the other schedules."""
    schedule: choices.ScheduleName = "constant"
    """The learning rate over time. one_cycle: linearly up, then down to 0.
    plateau: divided by 10 after ten epochs without a lower train loss."""
    warmup: float = 0.2
    """one_cycle: the fraction of the steps in which the learning rate goes up."""
    weight_decay: float | None = None
    """The weight decay: decoupled for muon (of the convolutions only) and adamw, L2 for all others.
    None: 0.01 for adamw, else 0."""
    adam_lr: float = 0.25
    """muon: the learning rate of Adam, as a fraction of --lr."""
    muon_linears: bool = False
    """muon: train the hidden linear layers with Muon, too."""
    label_smoothing: float = 0.0
    """The fraction of each label that is spread over all classes."""
    average: float = 0.0
    """The decay of a moving average of the weights, which is evaluated and saved (0: none)."""
    fresh_statistics: int = 0
    """Recompute the statistics of batch norm before each evaluation, on this many batches.
    0: use those of the training."""
    sizes: tuple[int, ...] = ()
    """The shorter side of the training images in each of the first epochs, such as 24 24 28.
    The last epoch always has the full size."""
    augment: choices.AugmentName = "none"
    """The augmentation in training. crop_alternate mirrors each image in every other epoch.
    affine: small rotations, shifts and scales. more: affine, colour, then crop and flip."""
    crop: int = 4
    """The largest shift of crop, in pixels."""
    cutout: int = 0
    """The side in pixels of a black square on each training image (0: none)."""
    whiten: bool = False
    """Begin with a first convolution that decorrelates the patches of the training images, and do
    not train it."""
    freeze: tuple[str, ...] = ()
    """Weights that are not trained: names or layers, with * for any text, such as "features.*".
    Batch norm in a frozen layer still updates its running statistics."""
    body_lr: float = 1.0
    """A factor for the learning rate of all layers but the last one."""


C = TypeVar("C", bound=TrainingConfig)


def short(author: C, **own: Any) -> C:
    """Return the config of a short training: the author's, with Muon and a one-cycle schedule.

    Args:
        author: the author's config.
        own: options of this network, such as its epochs.
    """
    shared: dict[str, Any] = {"optimizer": "muon", "lr": 0.02, "schedule": "one_cycle"}
    return replace(author, batch_size=128, **shared, **own)


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
    frozen = frozen_names(model, config.freeze)
    if config.whiten:
        frozen |= {first_convolution(model)}
        model = whitened(model, splits.train.images, preprocess)
    tx = partly_trained(tx, model, frozen=frozen, body_lr=config.body_lr)
    if config.average:
        tx = optim.chain(tx, optim.ema_params(config.average))
    return Experiment(
        model=model,
        tx=tx,
        loss=partial(cross_entropy, label_smoothing=config.label_smoothing),
        preprocess=preprocess,
        augment=choices.augment(
            config.augment,
            width=splits.input_shape[2],
            crop=config.crop,
            cutout=config.cutout,
            seed=config.seed,
        ),
        eval_params=averaged if config.average else lambda params, opt_state: params,
        plateau=plateau,
        fresh_statistics=config.fresh_statistics,
        sizes=config.sizes,
        frozen=frozen,
    )


def normalization(config: CommonConfig, splits: Splits, data: str, authors: Normalize) -> Normalize:
    """Return the author's normalisation on the author's data set, else that of the images.

    Args:
        config: the options.
        splits: the data; the mean and the standard deviation are those of the training images.
        data: the name of the author's data set. A folder is somebody's own, whatever its name.
        authors: the author's normalisation.
    """
    if splits.train.name == data and config.data in ("auto", data):
        return authors
    return normalize_of(splits.train)


def frozen_names(model: Model, patterns: Sequence[str]) -> frozenset[str]:
    """Return the names of the weights that patterns match.

    Args:
        model: the network.
        patterns: of names, or of layers; `*` stands for any text, as in `fnmatch`.

    Raises:
        ValueError: a pattern matches no weight, or they match all.
    """
    names = trainable_names(model)
    frozen: frozenset[str] = frozenset()
    for pattern in patterns:
        found = frozenset(name for name in names if _matches(name, pattern))
        if not found:
            raise ValueError(
                f"--freeze {pattern!r} matches no weight of this network: its weights are "
                f"{', '.join(names[:6])}, ..., {names[-1]} (--summary lists its layers)"
            )
        frozen |= found
    if frozen.issuperset(names):
        raise ValueError("--freeze freezes all weights: leave at least the last layer to train")
    return frozen


def partly_trained(
    tx: optim.GradientTransformation,
    model: Model,
    *,
    frozen: frozenset[str] = frozenset(),
    body_lr: float = 1.0,
) -> optim.GradientTransformation:
    """Return the optimizer that freezes some weights, and trains the body at a lower rate.

    Args:
        tx: the optimizer.
        model: the network, for the names of its last layer.
        frozen: the names of weights.
        body_lr: the factor of the updates of all layers but the last one.
    """
    if frozen:
        # In a group of their own, so that the optimizer has neither work nor state for them.
        groups = {"trained": tx, "frozen": optim.identity()}
        tx = optim.chain(
            optim.partition(groups, lambda path, _: "frozen" if path in frozen else "trained"),
            optim.freeze(lambda path, _: path in frozen),
        )
    if body_lr != 1.0:
        last = head(model)
        rates = {"head": optim.identity(), "body": optim.scale(body_lr)}
        parts = optim.partition(rates, lambda path, _: "head" if path in last else "body")
        tx = optim.chain(tx, parts)
    return tx


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


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

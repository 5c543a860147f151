"""Event files read back with TensorBoard's own reader."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from fnet.show.loggers import Start

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's own
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from fnet.show.loggers.tensorboard import TensorBoardLog

CONFIG = {
    "epochs": 2,
    "lr": 0.5,
    "compile": True,
    "data": "caf\udce9",
    "limit": None,
    "log": ("csv",),
}


def start(channels=3):
    images = torch.arange(5 * channels * 64).reshape(5, channels, 8, 8).to(torch.uint8)
    return Start(CONFIG, images, images[:1] / 255, lambda: nn.Conv2d(channels, 4, 3).eval())


def line(epoch, **figures):
    return {"epoch": epoch, "step": epoch * 10, "learning_rate": 0.1, **figures}


def read(directory):
    events = EventAccumulator(str(directory))
    return events.Reload()


def values(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_scalars_read_back(tmp_path):
    log = TensorBoardLog(tmp_path, pytest.fail)
    log.start(start())
    log.step(5, {"loss": 2.5, "accuracy": 0.25})
    log.epoch(line(1, train_loss=2.0, test_loss=1.5, validation_accuracy=0.5))
    log.epoch(line(2, train_loss=1.0, test_loss=float("nan"), validation_accuracy=0.75))
    log.close()
    events = read(tmp_path)
    assert values(events, "loss/train") == [(1, 2.0), (2, 1.0)]
    assert values(events, "accuracy/validation") == [(1, 0.5), (2, 0.75)]
    assert values(events, "loss/test")[0] == (1, 1.5)
    assert [step for step, _ in values(events, "learning_rate")] == [1, 2]
    assert values(events, "step/loss") == [(5, 2.5)]
    assert values(events, "step/accuracy") == [(5, 0.25)]


def test_the_config_is_there_before_the_end(tmp_path):
    log = TensorBoardLog(tmp_path, pytest.fail)
    log.start(start())
    content = read(tmp_path).PluginTagToContent("hparams")
    assert "_hparams_/session_end_info" not in content  # it still goes on
    log.close()
    assert "_hparams_/session_end_info" in read(tmp_path).PluginTagToContent("hparams")
    given = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    found = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in given.session_start_info.hparams.items()
    }
    assert found == {
        "epochs": 2.0,
        "lr": 0.5,
        "compile": True,
        "data": "caf\\udce9",
        "log": "('csv',)",
    }
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert "accuracy/test" in {info.name.tag for info in experiment.metric_infos}


@pytest.mark.parametrize("channels", [1, 3])
def test_sample_images(tmp_path, channels):
    log = TensorBoardLog(tmp_path, pytest.fail)
    log.start(start(channels))
    log.close()
    (image,) = read(tmp_path).Images("training images")
    assert (image.width, image.height) == (5 * 9 + 1, 10)
    assert image.encoded_image_string.startswith(b"\x89PNG")


@pytest.mark.parametrize("graph", [False, True])
def test_the_graph_is_there_on_request(tmp_path, graph):
    log = TensorBoardLog(tmp_path, pytest.fail, graph=graph)
    log.start(start())
    log.close()
    events = read(tmp_path)
    assert events.Tags()["graph"] == graph
    if graph:
        assert "_convolution" in str(events.Graph())


def test_a_network_that_cannot_be_traced_costs_a_warning(tmp_path):
    class Untraceable(nn.Module):
        def forward(self, x):
            raise RuntimeError("no way through\nhere")

    warned = []
    log = TensorBoardLog(tmp_path, warned.append, graph=True)
    log.start(replace(start(), module=Untraceable))
    log.close()
    (warning,) = warned
    assert "cannot be traced" in warning
    assert "\n" not in warning


def test_a_run_that_goes_on_shows_each_step_once(tmp_path):
    log = TensorBoardLog(tmp_path, pytest.fail)
    log.start(start())
    for step in range(1, 8):
        log.step(step, {"loss": float(step)})
        if step in (3, 6):
            log.epoch(line(step // 3, test_loss=0.5))
    log.close()
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / "events.out.tfevents.0")  # read first, also within the same second
    log = TensorBoardLog(tmp_path, pytest.fail)
    log.start(replace(start(), step=4, epoch=1))
    for step in range(5, 8):
        log.step(step, {"loss": 10.0 * step})
    log.close()
    events = read(tmp_path)
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0), (6, 60.0), (7, 70.0)]
    assert values(events, "step/loss") == expected
    assert values(events, "loss/test")[0] == (1, 0.5)


def test_what_was_never_started_can_be_closed(tmp_path):
    TensorBoardLog(tmp_path, pytest.fail).close()
    assert not list(tmp_path.iterdir())

"""Runs that are asked to stop at a given step."""

import signal
from contextlib import contextmanager

from fnet.run import train
from fnet.run.log import RunLog
from fnet.run.signals import StopRequest


@contextmanager
def stopped_after(step, monkeypatch):
    """Have the runs in this context asked to stop while this step goes on."""
    request = StopRequest()
    told = RunLog.step

    @contextmanager
    def requested(heard):
        yield request

    def note(self, record):
        told(self, record)
        if record.step == step:
            request.signal = signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(train, "stop_request", requested)
        patch.setattr(RunLog, "step", note)
        yield

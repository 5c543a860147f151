"""Neural networks as pure functions: `nn.Module` factories in, `Model(init, apply)` out."""

from fnet.nn.adapter import from_module
from fnet.nn.check import check
from fnet.nn.errors import ModelError
from fnet.nn.export import from_state_dict, to_module
from fnet.nn.init import Initializer, kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform
from fnet.nn.load_report import LoadReport
from fnet.nn.model import Model, Params
from fnet.nn.statistics import fresh_statistics
from fnet.nn.summary import Layer, Summary, summary

__all__ = [
    "Initializer",
    "Layer",
    "LoadReport",
    "Model",
    "ModelError",
    "Params",
    "Summary",
    "check",
    "fresh_statistics",
    "from_module",
    "from_state_dict",
    "kaiming_normal",
    "kaiming_uniform",
    "summary",
    "to_module",
    "xavier_normal",
    "xavier_uniform",
]

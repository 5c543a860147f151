"""The export of a run's network to files that other programs load without fnet."""

from fnet.run.export.check import Checked, check_export, check_images
from fnet.run.export.classifier import Classifier, classifier_of
from fnet.run.export.formats import FORMATS, Format, details_of, write

__all__ = [
    "FORMATS",
    "Checked",
    "Classifier",
    "Format",
    "check_export",
    "check_images",
    "classifier_of",
    "details_of",
    "write",
]

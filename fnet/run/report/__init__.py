"""Pages that hold everything they show: the report of a run, the comparison of several."""

from fnet.run.report.comparison import COLUMNS, comparison, differences, figures, named, times
from fnet.run.report.evaluated import Evaluated, evaluate_run, evaluation_figures
from fnet.run.report.formats import show
from fnet.run.report.run_page import report
from fnet.run.report.write import REPORT, free_name, require_new, write_page, write_report

__all__ = [
    "COLUMNS",
    "REPORT",
    "Evaluated",
    "comparison",
    "differences",
    "evaluate_run",
    "evaluation_figures",
    "figures",
    "free_name",
    "named",
    "report",
    "require_new",
    "show",
    "times",
    "write_page",
    "write_report",
]

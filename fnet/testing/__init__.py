"""The laws of a step, as test functions for any step: each raises an AssertionError if violated.

The error names the leaf or variable, and what happened. `check_step` runs all laws that apply.
`fnet.testing.strategies`, which needs hypothesis, generates arguments of steps.
"""

from fnet.testing.check import Checked, check_step
from fnet.testing.compiled import assert_compiled_agrees, assert_compiles_once
from fnet.testing.mapped import assert_accumulates, assert_vmap_agrees
from fnet.testing.purity import assert_pure
from fnet.testing.resume import assert_resumes
from fnet.testing.structure import assert_depends_on_key, assert_keeps_structure

__all__ = [
    "Checked",
    "assert_accumulates",
    "assert_compiled_agrees",
    "assert_compiles_once",
    "assert_depends_on_key",
    "assert_keeps_structure",
    "assert_pure",
    "assert_resumes",
    "assert_vmap_agrees",
    "check_step",
]

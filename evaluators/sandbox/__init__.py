"""Running code that nobody vouches for, so that it can reach nothing but its pipes and its scratch folder.

Levels, what each holds and what it does not: docs/sandbox.md.
"""

from evaluators.sandbox.process import Confined
from evaluators.sandbox.reach import reach
from evaluators.sandbox.records import LEVELS, Bounds, Exit, Isolation, SandboxUnavailable
from evaluators.sandbox.start import spawn

__all__ = ["LEVELS", "Bounds", "Confined", "Exit", "Isolation", "SandboxUnavailable", "reach", "spawn"]

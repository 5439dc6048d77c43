"""Data tests of pair sets: `check` runs them on a table in memory."""

from pairmine.stages.check.finding import Example, Finding
from pairmine.stages.check.stage import NAMES, Checker, Report, Settings, check, run_checks
from pairmine.stages.check.texts import Limit
from pairmine.stages.check.verdict import verdict

__all__ = ["NAMES", "Checker", "Example", "Finding", "Limit", "Report", "Settings", "check", "run_checks", "verdict"]

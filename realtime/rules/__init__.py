"""Rules: conditions on the animals of a frame, written as data, decided in microseconds."""

from realtime.rules.base import Animal, PythonRule
from realtime.rules.compiled import Comparison
from realtime.rules.errors import RuleError
from realtime.rules.recording import DecisionTable, TrackTable
from realtime.rules.rule import Rule
from realtime.rules.spec import RoleSpec, RuleContext, RuleSpec
from realtime.rules.together import compile_rule, compile_rules, evaluate_recording
from realtime.rules.zones import ZoneSpec

__all__ = [
    "Animal",
    "Comparison",
    "DecisionTable",
    "PythonRule",
    "RoleSpec",
    "Rule",
    "RuleContext",
    "RuleError",
    "RuleSpec",
    "TrackTable",
    "ZoneSpec",
    "compile_rule",
    "compile_rules",
    "evaluate_recording",
]

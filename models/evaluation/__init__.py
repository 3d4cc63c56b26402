"""Evaluation: how good predictions are, held against the truth."""

from models.evaluation.comparison import Evaluation, evaluate
from models.evaluation.options import EvaluationOptions

__all__ = ["Evaluation", "EvaluationOptions", "evaluate"]

"""The slow tier: what keeps mattering, in gated experts that are trained while the learner sleeps."""

from fastslow.slow.audit import Bounds, Outcome, Report
from fastslow.slow.consolidate import FactsConfig, Ground, consolidate, consolidate_each
from fastslow.slow.domain import DomainConfig, consolidate_domain
from fastslow.slow.experts import Expert, open_experts
from fastslow.slow.study import Exchange, Study, make_study, pose
from fastslow.slow.training import Hooks, TrainingConfig

__all__ = [
    "Bounds",
    "DomainConfig",
    "Exchange",
    "Expert",
    "FactsConfig",
    "Ground",
    "Hooks",
    "Outcome",
    "Report",
    "Study",
    "TrainingConfig",
    "consolidate",
    "consolidate_domain",
    "consolidate_each",
    "make_study",
    "open_experts",
    "pose",
]

"""The slow tier: what keeps mattering, in gated experts that are trained while the learner sleeps; and weights that
learn from rewards beside contexts that learn from what a verifier says."""

from fastslow.slow.audit import Bounds, Outcome, Report
from fastslow.slow.consolidate import FactsConfig, Ground, consolidate, consolidate_each
from fastslow.slow.contexts import Context, Item
from fastslow.slow.core_policy import Asked, CorePolicy
from fastslow.slow.distill import distill
from fastslow.slow.domain import DomainConfig, consolidate_domain
from fastslow.slow.evolver import ItemEvolver
from fastslow.slow.experts import Expert, open_experts
from fastslow.slow.fast_slow import FastSlowTrainer, FSTConfig, mean_at
from fastslow.slow.gepa import GepaEvolver, OpenAIReflector
from fastslow.slow.skills import Skill
from fastslow.slow.study import Exchange, Study, make_study, pose, survey
from fastslow.slow.training import Hooks, TrainingConfig

__all__ = [
    "Asked",
    "Bounds",
    "Context",
    "CorePolicy",
    "DomainConfig",
    "Exchange",
    "Expert",
    "FSTConfig",
    "FactsConfig",
    "FastSlowTrainer",
    "GepaEvolver",
    "Ground",
    "Hooks",
    "Item",
    "ItemEvolver",
    "OpenAIReflector",
    "Outcome",
    "Report",
    "Skill",
    "Study",
    "TrainingConfig",
    "consolidate",
    "consolidate_domain",
    "consolidate_each",
    "distill",
    "make_study",
    "mean_at",
    "open_experts",
    "pose",
    "survey",
]

"""What a program is worth: outputs compared, findings counted, one number. Pure Python, no torch.

Facts first (`Outcome`), weights later (`objective`): see outcome.py and objective.py. `Scorer` is the only
part that runs anything; the others are functions of their arguments.
"""

from entry import check_rooms

check_rooms("data", "sandbox")  # before they are imported

from reward.budget import ScoringConfig
from reward.compare import Policy, RewardError, parse_policy
from reward.cwe import CweWeights
from reward.functional import Stage
from reward.hacking.alarm import HackAlarm
from reward.objective import Reward, RewardConfig, objective
from reward.outcome import Outcome, Verdict, judge
from reward.scan.analyser import Analyser
from reward.scanned import Scanned
from reward.schedule import RewardSchedule, ScheduleConfig
from reward.scorer import Scorer
from reward.security import Finding, Scan, Trick

__all__ = [
    "Analyser",
    "CweWeights",
    "Finding",
    "HackAlarm",
    "Outcome",
    "Policy",
    "Reward",
    "RewardConfig",
    "RewardError",
    "RewardSchedule",
    "Scan",
    "Scanned",
    "ScheduleConfig",
    "Scorer",
    "ScoringConfig",
    "Stage",
    "Trick",
    "Verdict",
    "judge",
    "objective",
    "parse_policy",
]

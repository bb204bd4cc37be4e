"""Runs untrusted Python programs under limits and reports what happened to them.

Standard library only, Linux only; imports nothing else of this project. The sandbox runs programs and
states facts (`Report`, `Run`, `Status`); whether an output is right is somebody else's question, and
expected outputs never enter a process that runs a program.

Layers and what they are called: `tiers`; threat model, platforms and costs: docs/sandbox.md.
"""

from sandbox.pool import MAX_INPUT_MB, Accept, Job, Sandbox
from sandbox.records import Limits, Report, Run, SandboxError, Status
from sandbox.verdict import overstay

__all__ = [
    "MAX_INPUT_MB",
    "Accept",
    "Job",
    "Limits",
    "Report",
    "Run",
    "Sandbox",
    "SandboxError",
    "Status",
    "overstay",
]

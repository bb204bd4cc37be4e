"""Processes forked from one that has imported all that tests need: seconds less for each.

A process has one server of forks. It imports the list that was set last before it started, so there is one.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pytest",
        "hypothesis",
        "bandit.core.manager",
        "transformers.models.llama.modeling_llama",
        "train",
        "cli.dispatch",
    ]
)

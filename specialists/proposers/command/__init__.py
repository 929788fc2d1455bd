"""Any coding agent with a command line, in a sandboxed work tree: its diff is the proposal. See docs/command.md."""

from specialists.proposers.command.proposer import CommandProposer

__all__ = ["CommandProposer"]

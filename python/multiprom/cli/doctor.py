"""Looks for what keeps metrics from being right, and says what to do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from multiprom.cli import checks, directory, output
from multiprom.cli.failure import ATTENTION, DONE

if TYPE_CHECKING:
    import argparse

    from multiprom.cli.finding import Finding

HELP = "look for what is wrong, and say what to do"
EXAMPLES = """\
examples:
  multiprom doctor
  multiprom doctor /run/metrics
  multiprom doctor --json | jq '.findings[] | select(.level == "problem")'

Run it as the user of the service, and in its container: it looks at rights and processes.
"""
_WIDTH = 96
_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    output.add_json_to(parser)


def run(options: argparse.Namespace) -> int:
    """Look."""
    path = directory.named(options)
    findings = checks.all_findings(path)
    if options.json:
        found = [finding._asdict() for finding in findings]
        output.print_json("doctor", {"directory": path, "findings": found})
    else:
        for finding in findings:
            _print(finding)
    is_sound = all(finding.level in ("ok", "note") for finding in findings)
    return DONE if is_sound else ATTENTION


def _print(finding: Finding) -> None:
    label = f"{finding.level:>7}  "
    lines = textwrap.wrap(output.printable(finding.text), _WIDTH - len(label))
    if finding.advice:
        lines += textwrap.wrap(f"→ {output.printable(finding.advice)}", _WIDTH - len(label))
    indent = " " * len(label)
    output.print_styled(label, _STYLES[finding.level], ("\n" + indent).join(lines))

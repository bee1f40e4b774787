"""``e3 doctor``: check whether this machine is fit for E3, and what is wrong with it."""

import argparse
import json
from collections.abc import Callable, Iterable
from itertools import chain

from e3.cli import terminal
from e3.cli.checks import campaigns, hosts, kernel, labs, machine, packages, sessions, store, tools
from e3.cli.checks.finding import Finding
from e3.cli.place import Verbs
from e3.errors import E3Error

MENDED: tuple[Callable[[], Iterable[Finding]], ...] = (labs.check, store.check)
"""The checks that ``--fix`` repairs; labs first, since the states say whose they are."""

CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    tools.check,
    kernel.check,
    machine.check,
    *MENDED,
    hosts.check,
    sessions.check,
    packages.check,
    campaigns.check,
)


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "doctor",
        help="check tools, kernel, disk, clock, leftovers and hosts",
        epilog="exit status: 1 if any line says FAIL",
    )
    fix = "remove what crashed labs, updates and sessions left; restore states that are incomplete"
    verb.add_argument("--fix", action="store_true", help=fix)
    verb.add_argument(
        "--state", action="store_true", help="show only findings of labs and state that are not OK"
    )
    verb.add_argument("--json", action="store_true", help="one JSON object")
    verb.set_defaults(do=examine)


def examine(arguments: argparse.Namespace) -> int:
    """Print one line for each finding; exit with 1 if any is a FAIL."""
    mended = (*MENDED, sessions.check, packages.check) if arguments.fix else ()
    found = list(chain.from_iterable(check() for check in mended))
    fixed = [_fix(finding) for finding in found if finding.fix]
    checks = MENDED if arguments.state else CHECKS
    findings = [*fixed, *chain.from_iterable(check() for check in checks)]
    if arguments.state:
        findings = [finding for finding in findings if finding.level != "OK" or finding in fixed]
    failed = any(finding.level == "FAIL" for finding in findings)
    if arguments.json:
        report = {"ok": not failed, "findings": [finding.to_properties() for finding in findings]}
        print(json.dumps(report, indent=2))
    else:
        terminal.show(
            [(terminal.word(finding.level), finding.subject, finding.text) for finding in findings]
        )
    return 1 if failed else 0


def _fix(finding: Finding) -> Finding:
    """Apply the fix of a finding; return the result as a finding."""
    try:
        return finding.fixed()
    except (E3Error, OSError) as error:
        return Finding(
            level="FAIL",
            subject=finding.subject,
            detail=f"{finding.detail}: this fails: {error}",
            remedy=finding.remedy,
        )

"""``e3 authority``: who holds the key of a joint authority, what it signed, and new shares."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e3.ceremonies import credentials, verbs
from e3.ceremonies.record import ceremonies
from e3.cli import terminal
from e3.cli.authority_display import (
    SHOWN,
    ceremony,
    credential,
    entry,
    print_ceremonies,
    print_entries,
    print_signed,
    print_state,
    state_of,
    time_of,
)
from e3.cli.place import Verbs
from e3.cli.project import up
from e3.deployed import Stack
from e3.errors import E3Error
from e3.remote.text import printable

HOUR_SECONDS = 3600
MOST_HOURS = credentials.LONGEST_SECONDS // HOUR_SECONDS


def declare(verbs: Verbs) -> None:
    """Declare the verb's command lines."""
    verb = verbs.add_parser(
        "authority",
        help="show who holds the key of a joint authority and what it signed; renew shares",
        description="A joint authority (e3:authority: joint) has its key in shares of hosts. "
        "Without ACT: who holds a share, how many sign, and what was signed last. See "
        "docs/joint-authority.md.",
    )
    acts = verb.add_subparsers(metavar="ACT")
    shown = acts.add_parser("show", help="who holds a share, and what was signed last")
    log = acts.add_parser("log", help="what each host recorded, compared; status 1 if they differ")
    refresh = acts.add_parser("refresh", help="new shares of the same key for the same hosts")
    past = acts.add_parser("ceremonies", help="how each ceremony ended, and whose fault it was")
    _declare_credentials(acts)
    for act, do, what in (
        (shown, show_authority, "each authority"),
        (log, show_log, "every entry, and whose logs lack it"),
        (refresh, refresh_shares, "each authority after it"),
        (past, show_ceremonies, "each ceremony"),
    ):
        act.add_argument("--stack", metavar="STACK", default=argparse.SUPPRESS)
        act.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help=f"print {what} as JSON"
        )
        act.set_defaults(do=do)
    verb.add_argument("--stack", metavar="STACK", help="default: the selected one")
    terminal.offer_json(verb, "each authority")
    verb.set_defaults(do=show_authority)


def _declare_credentials(acts: Verbs) -> None:
    issue = acts.add_parser(
        "issue",
        help="a credential for a DID",
        description="Let the holders sign a credential, and print it (JWT or SD-JWT). What it may "
        "claim is in claims of e3:authority-options.",
    )
    issue.add_argument("--to", required=True, metavar="DID", help="whose credential it is")
    issue.add_argument(
        "--claim", action="append", required=True, metavar="NAME=VALUE", help="may be repeated"
    )
    issue.add_argument(
        "--selective",
        action="store_true",
        help="an SD-JWT: whoever has it shows the claims that are asked for, and no others",
    )
    issue.add_argument("--hours", type=_hours, default=1.0, help="how long it is valid; default: 1")
    listed = acts.add_parser("credentials", help="credentials that are valid, or revoked")
    revoke = acts.add_parser("revoke", help="revoke credentials, and print the list (JWT)")
    revoke.add_argument(
        "credentials",
        metavar="ID",
        nargs="+",
        help="as `e3 authority credentials` shows it; or the place in the list",
    )
    revoked = acts.add_parser("revocations", help="the list of revoked credentials (JWT)")
    for act in (revoke, revoked):
        act.add_argument("--hours", type=_hours, default=24.0, help="how long the list is valid")
    for act, do, what in (
        (issue, issue_credential, "the credential"),
        (listed, show_credentials, "each credential"),
        (revoke, show_revocations, "the list"),
        (revoked, show_revocations, "the list"),
    ):
        act.add_argument("--stack", metavar="STACK", default=argparse.SUPPRESS)
        act.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help=f"print {what} as JSON"
        )
        act.set_defaults(do=do)


def issue_credential(arguments: argparse.Namespace) -> int:
    """Print a new credential."""
    stack = _joint(arguments.stack)
    claims = dict(_claim(text) for text in arguments.claim)
    seconds = round(arguments.hours * HOUR_SECONDS)
    issuing = credentials.issue(
        _issuer(stack),
        stack.name,
        arguments.to,
        claims,
        seconds,
        selective=arguments.selective,
    )
    made, text = asyncio.run(issuing)
    if arguments.json:
        issuer = _issuer(stack)["certificate"]
        terminal.say_json({**credential(made), "issuer": issuer, "credential": text})
    else:
        print(text)
    return 0


def show_credentials(arguments: argparse.Namespace) -> int:
    """Print what was issued and is still valid, or revoked."""
    issued = credentials.listed(_issuer(_joint(arguments.stack)))
    if arguments.json:
        terminal.say_json(list(map(credential, issued)))
        return 0
    rows = [
        (
            each.identifier,
            "revoked" if each.revoked else f"until {time_of(each.not_after)}",
            ", ".join(f"{name}={value}" for name, value in each.claims.items()),
            each.subject,
        )
        for each in issued
    ]
    terminal.show(rows, header=("id", "", "claims", "subject"))
    return 0


def show_revocations(arguments: argparse.Namespace) -> int:
    """Print the list of revoked credentials, after revoking one if it is named."""
    stack = _joint(arguments.stack)
    seconds = round(arguments.hours * HOUR_SECONDS)
    revoke = getattr(arguments, "credentials", ())
    text = asyncio.run(credentials.revocations(_issuer(stack), stack.name, revoke, seconds))
    if arguments.json:
        terminal.say_json({"list": text, "url": credentials.status_url(stack.name)})
    else:
        print(text)
    return 0


def show_authority(arguments: argparse.Namespace) -> int:
    """Print the authorities of a stack; the status is 1 if one cannot sign."""
    stack = _joint(arguments.stack)
    states, logs = asyncio.run(verbs.look(stack.joint))
    able = all(state.able for state in states)
    if arguments.json:
        signed = [entry(each) for each in logs.compared() if each.entry.kind == "signatures"]
        folder = _folder(stack)
        said = {
            "stack": stack.name,
            "authorities": list(map(state_of, states)),
            "signed": signed,
            "ceremonies": [ceremony(each, folder) for each in ceremonies(folder)[-SHOWN:]],
        }
        terminal.say_json(said)
        return 0 if able else 1
    for state in states:
        print_state(state)
    print_signed(logs)
    print()
    print_ceremonies(ceremonies(_folder(stack))[-SHOWN:])
    return 0 if able else 1


def show_log(arguments: argparse.Namespace) -> int:
    """Print the holders' logs, compared; the status is 1 if they differ or one cannot be read."""
    stack = _joint(arguments.stack)
    _, logs = asyncio.run(verbs.look(stack.joint))
    compared = logs.compared()
    whole = not logs.unread and not any(each.missing_from for each in compared)
    if arguments.json:
        entries = [entry(each) for each in compared]
        terminal.say_json({"stack": stack.name, "entries": entries, "unread": logs.unread})
        return 0 if whole else 1
    print_entries(compared)
    for host, why in logs.unread.items():
        terminal.complain(f"the log of {host} cannot be read: {why}")
    for each in compared:
        for host in each.missing_from:
            terminal.complain(
                f"the log of {host} lacks what {', '.join(each.recorded_by)} recorded at "
                f"{time_of(each.entry.time)}: the host ended before it could record it, its disk "
                "was lost or set back, or somebody changed its log"
            )
    return 0 if whole else 1


def show_ceremonies(arguments: argparse.Namespace) -> int:
    """Print the ceremonies of a stack, from their evidence."""
    folder = _folder(_joint(arguments.stack))
    past = ceremonies(folder)
    if arguments.json:
        terminal.say_json([ceremony(each, folder) for each in past])
        return 0
    print_ceremonies(past)
    print(f"evidence: {folder}/<ceremony>")
    return 0


def refresh_shares(arguments: argparse.Namespace) -> int:
    """Make new shares; certificates stay valid."""
    stack = _joint(arguments.stack)
    states = asyncio.run(verbs.refresh(stack.joint))
    if arguments.json:
        terminal.say_json({"stack": stack.name, "authorities": list(map(state_of, states))})
        return 0
    for state in states:
        epoch = state.header.epoch if state.header else 0
        print(f"{state.purpose}: new shares, epoch {epoch}; the key and all certificates stay")
    return 0


def _joint(name: str | None) -> Stack:
    stack = up(name)
    if not stack.joint:
        raise E3Error(
            f"stack {stack.name} has no joint authority; set e3:authority: joint, with an overlay "
            "that needs an authority or with e3:tls: true, and run `pulumi up`"
        )
    return stack


def _folder(stack: Stack) -> Path:
    """Return where the ceremonies of a stack have their evidence."""
    first, *_ = stack.joint.values()
    return Path(first["joint"]["folder"])


def _issuer(stack: Stack) -> Mapping[str, Any]:
    found = stack.joint.get(credentials.PURPOSE)
    if found is None:
        raise E3Error(
            f"stack {stack.name} has no key for credentials; say what they may claim, as in "
            "`pulumi config set e3:authority-options '{claims: {role: [auditor]}}'`, and run "
            "`pulumi up`"
        )
    return found


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 1 / HOUR_SECONDS <= hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} must be hours, {MOST_HOURS} at most")
    return hours


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise E3Error(f"--claim {printable(text)!r} must be NAME=VALUE, such as role=auditor")
    return name, value

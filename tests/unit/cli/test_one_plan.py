"""`pulumi up` and `e3 run` make the same session of a stack's configuration."""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from e3 import config, deployed
from e3.access import host_to_properties
from e3.cli import project, run
from e3.errors import ConfigurationError, E3Error
from e3.providers import session as provider
from e3.pulumi_state import OURS, Resource
from e3.session import programs
from e3.session.progress import NullObserver
from e3.session.run_session import SessionSpec
from e3.settings import SESSION_KEYS
from tests.hosts import host

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
HOSTS = [
    host("ams3-0", "198.18.0.2", reachability="symmetric"),
    host("ams3-1", "198.18.0.3"),
    host("sgp1-0", "198.18.4.2", reachability="port-restricted"),
]
ADDRESSES = {made.name: f"10.0.0.{i}" for i, made in enumerate(HOSTS)}
PATHS = [{"source": "ams3-0", "target": "sgp1-0", "path_class": "relayed", "rtt_ms": 2}]
OBJECTS = ("look", "observer")
"""Parts of a session that cannot be compared."""

WORDS = st.sampled_from(["", "--bid 310", "-n 3", "'a b' c", "-- -P x", "-I1", "--bas 3", "ü {x}"])
LIMITS = ["memory-mb", "output-mb", "files-mb", "processes", "ship-seconds", "connect-seconds"]
LIMITS += ["output-files", "output-files-mb", "input-mb", "packages-mb", "packages-seconds"]
NUMBERS = st.integers(0, 5000) | st.floats(0.5, 5000)
VALUES: Mapping[str, st.SearchStrategy[object]] = {
    "args": WORDS | st.integers(0, 9),
    "compare": st.sampled_from(["none", "same", "some"]),
    "deadline-seconds": NUMBERS,
    "dependencies": st.sampled_from(["auto", "build", "none", "all"]),
    "entry": st.sampled_from(["", "auction.py", "../x.py"]),
    "input-names": st.sampled_from(["same", "any", "all"]),
    "inputs": st.sampled_from(["", "tests/cases/inputs", "tests/cases", "nowhere"]),
    "keep": st.lists(st.sampled_from(["*.enc", "a/*", "../x", ""]), max_size=2),
    "limits": st.dictionaries(st.sampled_from(LIMITS), NUMBERS, max_size=6),
    "network": st.sampled_from(["peers", "open"]),
    "outputs": st.sampled_from(["evidence", "private", "x"]),
    "parties": st.integers(0, 4),
    "private-args": st.dictionaries(
        st.sampled_from([*ADDRESSES, "mars-0"]), WORDS | st.integers(0, 9), max_size=3
    ),
    "program": st.sampled_from(["demos/helloworld.py", "demos/auction.py", "demos", "none.py"]),
    "tls": st.booleans(),
    "trigger": WORDS,
    "unpickle": st.lists(st.sampled_from(["__main__.Ballot", "a.b"]), max_size=2),
}


def test_every_key_of_sessions_is_varied() -> None:
    assert set(VALUES) == set(SESSION_KEYS)


def engine(values: Mapping[str, object]) -> SessionSpec:
    """Return the session of `pulumi up`: its values are text, and its numbers become floats."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    regions = {"regions": '{"ams3": 2, "sgp1": 1}', "overlay": "wireguard"}
    experiment = config.parse("trial", {**texts, **regions})
    properties = {
        **provider.settings_properties(experiment.session),
        **joined(experiment.overlay.name),
        "folder": str(experiment.folder),
    }
    return provider.spec_of(json.loads(json.dumps(properties), parse_int=float))


def outcome(
    make: Callable[[Mapping[str, object]], SessionSpec], values: Mapping[str, object]
) -> SessionSpec | str:
    try:
        return make(values)
    except E3Error as error:
        return f"{type(error).__name__}: {error}"


def joined(overlay: str) -> dict[str, Any]:
    hosts = [host_to_properties(made) for made in HOSTS]
    common = {"hosts": hosts, "addresses": ADDRESSES, "paths": PATHS, "options": {}}
    return {**common, "memory": {"a": "b"}, "overlay": overlay, "kind": overlay}


def command(folder: Path, values: Mapping[str, object], *words: str) -> SessionSpec:
    """Return the session of `e3 run` on the stack that `pulumi up` left."""
    rows = {f"e3:{key}": value for key, value in values.items()}
    (folder / "Pulumi.trial.yaml").write_text(yaml.safe_dump({"config": rows}, sort_keys=False))
    overlay = Resource(
        urn="urn:pulumi:trial::e3::x::wireguard",
        type=f"{OURS}Overlay",
        outputs=json.loads(json.dumps(joined("wireguard")), parse_int=float),
    )
    stack = deployed.joined([overlay])
    assert stack is not None
    found = run.settings_of(parsed(*words), project.session_settings(stack, folder))
    program = programs.load(found.program, found.args, found.entry)
    return run.spec_of(stack, found, program, None, NullObserver())


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.declare(parser.add_subparsers())
    cut = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(["run", *words[:cut]])
    arguments.args = list(words[cut + 1 :]) if "--" in words else None
    arguments.cwd = str(ROOT)
    return arguments


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the defaults of the project."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    return folder


@given(values=st.fixed_dictionaries({}, optional=dict(VALUES)))
def test_whatever_the_engine_takes_the_command_takes(
    folder: Path, values: Mapping[str, object]
) -> None:
    expected, found = outcome(engine, values), outcome(partial(command, folder), values)
    if not isinstance(expected, SessionSpec) or not isinstance(found, SessionSpec):
        # of too many parties each says something else: the engine could make more hosts
        assert expected == found or "e3:parties: 4 parties" in str(expected)
        assert not isinstance(found, SessionSpec)
        return
    for field in fields(SessionSpec):
        if field.name not in OBJECTS:
            assert getattr(found, field.name) == getattr(expected, field.name), field.name


CONFIGURED = {
    "program": "demos/auction.py",
    "args": "--bids 3",
    "private-args": {"ams3-0": "--bid 310"},
    "parties": 2,
}


@pytest.mark.parametrize(
    ("words", "args", "private"),
    [
        ((), ("--bids", "3"), ("--bid", "310")),
        (("demos/auction.py",), ("--bids", "3"), ("--bid", "310")),
        (("demos/auction.py", "--"), (), ("--bid", "310")),
        (("--", "--bids", "4"), ("--bids", "4"), ("--bid", "310")),
        (("demos/helloworld.py",), (), ("--bid", "310")),
        (("demos/helloworld.py", "--no-private-args"), (), ()),
    ],
)
def test_the_command_line_replaces_the_configuration(
    folder: Path, words: tuple[str, ...], args: tuple[str, ...], private: tuple[str, ...]
) -> None:
    spec = command(folder, CONFIGURED, *words)
    assert spec.plan.program.args == args
    assert [asdict(seat)["private"] for seat in spec.plan.seats] == [private, ()]


def test_an_entry_belongs_to_its_program(folder: Path) -> None:
    configured = {"program": "demos", "entry": "auction.py"}
    assert command(folder, configured).plan.program.entry == "auction.py"
    assert command(folder, configured, "demos").plan.program.entry == "auction.py"
    for words in (("--entry", "helloworld.py"), ("demos/helloworld.py",)):
        assert command(folder, configured, *words).plan.program.entry == "helloworld.py"
    with pytest.raises(ConfigurationError, match="--entry: 2 entries; a session runs one of them"):
        command(folder, configured, "--entry", "a.py", "--entry", "b.py")


def test_tls_without_an_authority_is_refused_rather_than_left_out(folder: Path) -> None:
    overlay = Resource(
        urn="urn:pulumi:trial::e3::x::y", type=f"{OURS}Overlay", outputs=joined("plain")
    )
    stack = deployed.joined([overlay])
    assert stack is not None
    (folder / "Pulumi.trial.yaml").write_text("config: {e3:tls: true}\n")
    found = project.session_settings(stack, folder)
    with pytest.raises(E3Error, match=r"e3:tls: stack trial has no authority .* run `pulumi up"):
        project.authority(stack, found)

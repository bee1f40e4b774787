"""Reports of made-up results: of known truth, and of empty, failed and hostile ones."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from e3.errors import ResultsError
from e3.evaluation import results, results_file
from e3.evaluation.report import comparison, costs, criteria, decisions, facts, model, page, study
from e3.overlays import OVERLAYS
from e3.session.verdicts import Verdict
from tests import campaigns, synthetic
from tests.synthetic import Plan, Truth

pytestmark = pytest.mark.unit

pytest.importorskip("vl_convert", reason="charts need it: scripts/setup --report")

SMALL = Plan(
    truths={name: synthetic.TRUTHS[name] for name in ("plain", "wireguard", "tor")},
    scenarios=("near", "far"),
    programs=("rounds", "bulk"),
    repetitions=8,
)


class Page(HTMLParser):
    """What a page has that a test asks for: ids, links, elements that must not be there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.unknown: list[str] = []
        self.charts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        if of.get("id"):
            self.ids.append(str(of["id"]))
        if tag == "a" and of.get("href"):
            self.links.append(str(of["href"]))
        if tag == "script":
            self.scripts.append(str(of.get("type")))
        if tag == "figure" and "data-chart" in of:
            self.charts.append(str(of["data-chart"]))
        if tag in {"img", "iframe", "object", "embed", "form", "base"} or "src" in of:
            self.unknown.append(tag)
        self.unknown.extend(name for name in of if name.startswith("on"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("results") / "results.jsonl", SMALL)


@pytest.fixture(scope="module")
def made(file: Path) -> str:
    return page.render(study.load(file))


def of_records(path: Path, *records: results.Record) -> study.Study:
    chain = results_file.FIRST
    with path.open("wb") as file:
        for record in records:
            line, chain = results_file.link(record, chain)
            file.write(line)
    return study.load(path)


def test_a_report_made_again_is_the_same_byte_for_byte(file: Path, made: str) -> None:
    assert page.render(study.load(file)) == made


def test_a_page_needs_nothing_from_elsewhere_and_runs_its_own_scripts_alone(made: str) -> None:
    found = Page(made)
    assert found.scripts == ["application/json", "None", "None"]
    assert not found.unknown
    assert len(made.encode()) < 5_000_000
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-eval" not in policy[1]


def test_every_link_within_a_page_has_an_end_and_every_id_is_there_once(made: str) -> None:
    found = Page(made)
    assert len(set(found.ids)) == len(found.ids)
    within = {link[1:] for link in found.links if link.startswith("#")}
    assert within <= set(found.ids)
    assert all(link.startswith(("#", "https://")) for link in found.links)


def test_every_chart_of_the_page_has_a_specification(made: str) -> None:
    found = re.search(r'id="specs">(.*?)</script>', made, re.DOTALL)
    assert found is not None
    assert sorted(json.loads(found[1])) == sorted(Page(made).charts)


def test_the_slower_overlay_is_told_apart_and_an_equal_one_is_not(file: Path) -> None:
    ratios = criteria.comparisons(study.load(file))
    assert ratios["tor", "far", "rounds"].marked
    assert 3 < ratios["tor", "far", "rounds"].value < 4
    assert not ratios["wireguard", "near", "rounds"].marked


def test_where_throughput_misleads_is_named(file: Path) -> None:
    """WireGuard carries more than plain; with many rounds and a longer way it still ends later."""
    truths = {"plain": Truth(), "wireguard": Truth(factor=1.3, mbit=900)}
    path = synthetic.write(file.with_name("inverted.jsonl"), replace(SMALL, truths=truths))
    found = page.inversions(study.load(path))
    assert ("far", "rounds", "wireguard", "plain") in {
        (one.scenario, one.program, one.faster_bulk, one.faster_program) for one in found
    }


def test_a_program_of_large_messages_is_one_on_a_fast_line_as_well(file: Path) -> None:
    fast = replace(SMALL, truths={"plain": Truth(mbit=9000)})
    of = study.load(synthetic.write(file.with_name("fast.jsonl"), fast))
    assert criteria.natures(of) == {"rounds": "rounds", "bulk": "bytes"}


def test_the_model_finds_what_a_program_waits_for(file: Path) -> None:
    of = study.load(file)
    assert criteria.natures(of) == {"rounds": "rounds", "bulk": "bytes"}
    cell = "plain/far"
    parts = model.parts(of, cell, of.runs[cell, "rounds"], model.start_seconds(of))
    assert parts is not None
    assert parts.rounds_seconds == pytest.approx(100 * 165.1 / 2000)
    assert parts.rest_seconds is not None
    assert abs(parts.rest_seconds) < 0.1 * parts.online_seconds


def test_decisions_follow_from_conditions_and_figures(file: Path) -> None:
    of = study.load(file)
    made = decisions.decide(criteria.profiles(of, criteria.comparisons(of)))
    by_title = {one.situation.title: one for one in made}
    assert by_title["Programs with large messages"].best == ["wireguard"]
    assert by_title["Machines without root, such as a student's account"].best == ["tor"]
    for one in made:
        assert {each.name for each in one.candidates} == {"plain", "wireguard", "tor"}
        assert "plain" not in one.best


@pytest.mark.parametrize(
    ("exchanges", "grade"),
    [
        (("", ""), None),
        (("X25519MLKEM768", "X25519MLKEM768"), "yes"),
        (("X25519MLKEM768", "X25519"), "partly"),
        (("X25519", ""), "no"),
    ],
    ids=["none-told", "all", "some", "no-path"],
)
def test_what_connections_told_of_their_keys_goes_before_what_is_stated(
    tmp_path: Path, exchanges: Sequence[str], grade: str | None
) -> None:
    hosts = ("ams3-0", "ams3-1")
    pairs = [
        results.JoinedPair(source=a, target=b, path_class="direct", exchange=exchange)
        for a, b, exchange in zip(hosts, reversed(hosts), exchanges, strict=True)
    ]
    cell = "libp2p/near"
    of = of_records(
        tmp_path / "r.jsonl",
        campaigns.campaign(overlays=[campaigns.overlay("libp2p")]),
        campaigns.setup(cell=cell, pairs=pairs),
        campaigns.repetition(cell=cell),
        campaigns.cell(cell=cell),
    )
    (profile,) = criteria.profiles(of, {})
    assert profile.quantum_safe == grade
    assert (decisions.quantum_safe(profile) is None) == (grade in {None, "yes"})
    text = page.render(of)
    shown = re.findall(r"<small>(\w+) on (\d+) paths", text)
    assert dict(shown) == {one: str(exchanges.count(one)) for one in exchanges if one}


def test_disturbed_repetitions_are_counted_and_left_out_if_asked(tmp_path: Path) -> None:
    plan = replace(SMALL, share_disturbed=0.3)
    path = synthetic.write(tmp_path / "results.jsonl", plan)
    whole, less = study.load(path), study.load(path, leave_out_disturbed=True)
    disturbed = sum(runs.disturbed_repetitions for runs in whole.runs.values())
    assert disturbed > 0
    assert sum(runs.completed for runs in whole.runs.values()) == whole.repetitions
    assert sum(runs.completed for runs in less.runs.values()) == whole.repetitions - disturbed
    assert less.repetitions == whole.repetitions


def test_a_campaign_without_a_repetition_has_a_page(tmp_path: Path) -> None:
    text = page.render(of_records(tmp_path / "r.jsonl", campaigns.campaign()))
    assert "has not come to its end" in text
    assert "No session completed" in text


def test_a_limited_scenario_lacks_nothing(tmp_path: Path) -> None:
    """What the matrix does not have is neither unfinished nor a reason to fail."""
    asked = campaigns.campaign(
        overlays=[campaigns.overlay("plain"), campaigns.overlay("wireguard")],
        scenarios=[
            campaigns.campaign().scenarios[0],
            results.ScenarioChoice(id="one", fleet="lab", regions={"ams3": 2}, overlays=["plain"]),
        ],
    )
    ends = [campaigns.cell(cell=name) for name in ("plain/near", "wireguard/near", "plain/one")]
    of = of_records(tmp_path / "r.jsonl", asked, *ends)
    assert sorted(of.cells) == ["plain/near", "plain/one", "wireguard/near"]
    assert not of.unfinished
    assert "wireguard/one" not in page.render(of)


def test_one_repetition_has_a_median_and_no_interval(tmp_path: Path) -> None:
    records = (campaigns.campaign(), campaigns.setup(), campaigns.repetition(), campaigns.cell())
    text = page.render(of_records(tmp_path / "r.jsonl", *records))
    assert "1 of 1" in text
    assert "1.50 s" in text
    assert "has not come to its end" not in text


def test_cells_that_failed_or_are_unsupported_say_why(tmp_path: Path) -> None:
    asked = campaigns.campaign(
        overlays=[
            results.OverlayChoice(id=name, overlay=name) for name in ("plain", "tor", "nebula")
        ]
    )
    lost = campaigns.repetition(
        verdict=Verdict.TIMED_OUT, reason="pid 1 was silent", online_seconds=None
    )
    of = of_records(
        tmp_path / "r.jsonl",
        asked,
        campaigns.setup(),
        lost,
        campaigns.cell(state="failed", reason="1 did not complete"),
        campaigns.cell(cell="tor/near", state="unsupported", reason="tor needs a public host"),
        campaigns.cell(cell="nebula/near", state="failed", reason="hosts could not be made"),
    )
    text = page.render(of)
    for words in ("pid 1 was silent", "tor needs a public host", "hosts could not be made"):
        assert words in text
    assert "0 of 1" in text
    assert not of.unfinished


def test_nothing_of_results_becomes_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}\x1b[31m\u202e"
    program = results.ProgramChoice(
        id="rounds", group="rounds", about=evil, program=evil[:200], args=[evil[:200]],
        digest=campaigns.DIGEST,
    )  # fmt: skip
    place = results.ScenarioChoice(
        id="near", about=evil, fleet="lab", regions={evil[:100]: 2}, nats={evil[:90]: evil[:90]},
        links={evil[:100]: results.LinkQuality(loss=0.1)},
    )  # fmt: skip
    host = replace_host(evil[:200])
    of = of_records(
        tmp_path / "r.jsonl",
        campaigns.campaign(
            about=evil, e3=evil[:200], commit=evil[:200], programs=[program], scenarios=[place]
        ),
        campaigns.setup(
            programs=evil,
            versions={evil[:200]: evil[:200]},
            hosts=[host],
            baseline=[trip(evil[:200])],
        ),
        campaigns.repetition(verdict=Verdict.PARTY_FAILED, reason=evil),
        campaigns.cell(state="failed", reason=evil),
    )
    for text in (page.render(of), comparison.render(of, of)):
        found = Page(text)
        assert found.scripts == ["application/json", "None", "None"]
        assert not found.unknown
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "{{ 7*7 }}" in text or "compared" in text


def replace_host(name: str) -> results.HostFacts:
    return results.HostFacts(
        name=name, region=name, system=name, reachability=name, underlay_address=name,
        overlay_address=name,
    )  # fmt: skip


def trip(name: str) -> results.RoundTrip:
    return results.RoundTrip(
        source=name, target=name, layer="underlay", transport="udp", sent=1, lost=0, least_ms=1.0,
        median_ms=1.0, most_ms=1.0, jitter_ms=0.0,
    )  # fmt: skip


def test_cells_of_a_busier_machine_are_not_compared_without_a_warning(tmp_path: Path) -> None:
    asked = campaigns.campaign(
        overlays=[results.OverlayChoice(id=name, overlay=name) for name in ("plain", "tor")]
    )
    calm = campaigns.setup().machine
    busy = msgspec.structs.replace(calm, load_1m=9.0)
    records = (asked, campaigns.setup(), campaigns.setup(cell="tor/near", machine=busy))
    of = of_records(tmp_path / "r.jsonl", *records)
    assert of.uneven_load == (0.5, 9.0)
    assert "not equally busy" in page.render(of)
    even = of_records(tmp_path / "e.jsonl", asked, campaigns.setup())
    assert even.uneven_load is None


def test_a_file_that_is_cut_is_read_up_to_there(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "results.jsonl"
    cut.write_bytes(file.read_bytes()[:-700])
    of = study.load(cut)
    assert of.unfinished
    assert "has not come to its end" in page.render(of)


def test_a_file_that_was_changed_makes_no_report(file: Path, tmp_path: Path) -> None:
    changed = tmp_path / "results.jsonl"
    changed.write_bytes(file.read_bytes().replace(b'"online_seconds":8', b'"online_seconds":1', 1))
    with pytest.raises(ResultsError, match="changed"):
        study.load(changed)


def test_a_campaign_of_too_many_cells_is_refused(tmp_path: Path) -> None:
    many = campaigns.campaign(
        overlays=[results.OverlayChoice(id=f"o{n}", overlay="plain") for n in range(60)],
        scenarios=[
            results.ScenarioChoice(id=f"s{n}", fleet="lab", regions={"a": 2}) for n in range(60)
        ],
    )
    with pytest.raises(ResultsError, match="3600 cells"):
        of_records(tmp_path / "r.jsonl", many)


def test_two_campaigns_of_one_truth_agree_and_another_truth_is_found(tmp_path: Path) -> None:
    first = study.load(synthetic.write(tmp_path / "a.jsonl", SMALL))
    again = study.load(synthetic.write(tmp_path / "b.jsonl", replace(SMALL, seed=2)))
    same = comparison.compare(first, again)
    assert len(same.pairs) == 12
    assert len(same.marked) <= 1
    slower = {**SMALL.truths, "wireguard": Truth(factor=1.5, mbit=700)}
    other = study.load(synthetic.write(tmp_path / "c.jsonl", replace(SMALL, truths=slower, seed=3)))
    found = comparison.compare(first, other)
    assert ("wireguard/far", "rounds") in {(pair.cell, pair.program) for pair in found.marked}
    assert not any(pair.cell.startswith("plain") for pair in found.marked)
    text = comparison.render(first, other)
    assert Page(text).charts == ["ratios"]


def test_a_delay_that_was_added_to_one_scenario_is_found_there_alone(tmp_path: Path) -> None:
    first = study.load(synthetic.write(tmp_path / "a.jsonl", SMALL))
    path = synthetic.write(tmp_path / "b.jsonl", replace(SMALL, seed=4, added_ms={"far": 20.0}))
    found = comparison.compare(first, study.load(path))
    assert found.marked
    assert {pair.cell.partition("/")[2] for pair in found.marked} == {"far"}
    assert {pair.program for pair in found.marked} == {"rounds"}


def test_every_overlay_has_every_stated_fact_with_a_source() -> None:
    stated = facts.load()
    assert set(stated.overlays) == {*OVERLAYS, "tls"}
    for name, of in stated.overlays.items():
        assert set(of) == set(stated.aspects), name
        for fact in of.values():
            assert fact.link or (facts.DOCS.parent / fact.source).is_file(), fact.source


def test_every_overlay_of_the_registry_has_its_ease_and_resilience() -> None:
    for name in OVERLAYS:
        assert facts.ease(results.OverlayChoice(id=name, overlay=name)) is not None
        assert name in facts.resilience().overlays
    assert facts.ease(results.OverlayChoice(id="x", overlay="of-another-e3")) is None


def test_openings_wait_around_the_ring_and_not_for_the_slowest_pair(tmp_path: Path) -> None:
    """What docs/evaluation.md measured: (82 + 165 + 230) ms / 3 / 2, not 230 / 2."""
    trips = {("a", "b"): 82.0, ("b", "c"): 230.0, ("c", "a"): 165.0}
    hosts = [
        msgspec.structs.replace(campaigns.setup().hosts[0], name=name, pid=pid)
        for pid, name in enumerate("abc")
    ]
    setup = campaigns.setup(
        hosts=hosts,
        baseline=[
            results.RoundTrip(
                source=source, target=target, layer="overlay", transport="udp", sent=1, lost=0,
                least_ms=ms, median_ms=ms, most_ms=ms, jitter_ms=0.0,
            )
            for (one, other), ms in trips.items()
            for source, target in ((one, other), (other, one))
        ],
    )  # fmt: skip
    party = msgspec.structs.replace(
        campaigns.repetition().parties[0], stated_rounds=60, stated_openings=50
    )
    of = of_records(
        tmp_path / "r.jsonl", campaigns.campaign(), setup, campaigns.repetition(parties=[party])
    )
    parts = model.parts(of, "plain/near", of.runs["plain/near", "rounds"], 0.0)
    assert parts is not None
    assert parts.opening_ms == pytest.approx(79.5)
    assert parts.rounds_seconds == pytest.approx(50 * 0.0795 + 10 * 0.115)


@pytest.mark.parametrize(
    ("number", "delays", "mean"),
    [
        (2, {(0, 1): 3.0, (1, 0): 5.0}, 4.0),
        # two cycles: 0-1 with 4 a step, and 0-1-2 with 5
        (3, {(0, 1): 6.0, (1, 0): 2.0, (1, 2): 4.0, (2, 0): 5.0}, 5.0),
        (2, {(0, 1): 3.0}, None),
    ],
)
def test_the_largest_mean_of_a_cycle(
    number: int, delays: dict[tuple[int, int], float], mean: float | None
) -> None:
    assert model.largest_cycle_mean(number, delays) == mean


def test_what_parties_sent_to_each_other_and_what_a_session_costs(tmp_path: Path) -> None:
    parties = [
        msgspec.structs.replace(party, sent_bytes_to=sent)
        for party, sent in zip(
            campaigns.repetition().parties, ([0, 1_000_000], [500, 0]), strict=True
        )
    ]
    one = results.Throughput(
        source="ams3-0", target="ams3-1", layer="overlay", mbit_per_second=80.0
    )
    of = of_records(
        tmp_path / "r.jsonl",
        campaigns.campaign(),
        campaigns.setup(hourly_usd=0.36, throughput=[one]),
        campaigns.repetition(
            parties=parties,
            online_seconds=2.0,
            wall_seconds=8.0,
            own_seconds=0.5,
            measuring_seconds=1.5,
        ),
    )
    (sent,) = costs.sent(of)
    assert [(pair.source, pair.target, pair.bytes) for pair in sent.pairs] == [
        ("ams3-0", "ams3-1", 1_000_000),
        ("ams3-1", "ams3-0", 500),
    ]
    # 8 Mbit in 2 s, of 80 Mbit/s
    assert sent.pairs[0].used == pytest.approx(0.05)
    assert sent.pairs[1].used is None
    (price,) = costs.prices(of)
    assert price.usd == pytest.approx(0.001)
    assert "0.00100" in page.render(of)


def test_what_an_overlay_asks_of_its_user_follows_from_its_code() -> None:
    tinc = facts.ease(campaigns.overlay("tinc"))
    assert tinc is not None
    assert tinc.commands == ["sudo apt-get install tinc", "make up STACK=<name>"]
    assert tinc.keys == ["e3:overlay: tinc"]
    assert not tinc.builds
    secured = results.OverlayChoice(id="tls", overlay="plain", tls=True)
    nebula = results.OverlayChoice(id="n", overlay="nebula", options={"mtu": 1200})
    assert facts.ease(secured).keys == ["e3:overlay: plain", "e3:tls: true"]  # type: ignore[union-attr]
    found = facts.ease(nebula)
    assert found is not None
    assert found.keys[1:] == ["e3:overlay-options: mtu"]
    assert found.builds == ["nebula (1 min)"]
    assert found.others == "nothing"


def test_nothing_is_compared_with_itself_and_no_row_is_empty(tmp_path: Path) -> None:
    plan = replace(SMALL, truths={name: synthetic.TRUTHS[name] for name in ("plain", "wireguard")},
                   scenarios=("near", "nats"))  # fmt: skip
    made = page.render(study.load(synthetic.write(tmp_path / "results.jsonl", plan)))
    slowdown = made.partition('<section id="slowdown">')[2].partition("</section>")[0]
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', slowdown)
    assert heads[:3] == ["scenario", "program", "wireguard"]
    assert '<th scope="row">nats</th>' not in slowdown  # plain cannot join the hosts there
    assert "0 of 0" not in made.partition('<section id="figures">')[2]


def test_code_in_stated_facts_is_shown_as_code(made: str) -> None:
    assert "With the option <code>psk</code> alone" in made
    assert "`" not in made.partition('<section id="security">')[2].partition("</section>")[0]


def test_handshakes_and_energy_are_shown_where_they_were_measured(tmp_path: Path) -> None:
    def overhead(**of_repetition: object) -> str:
        told = [campaigns.repetition(repetition=n, order=n, **of_repetition) for n in range(3)]
        whole = of_records(
            tmp_path / "r.jsonl", campaigns.campaign(), campaigns.setup(), *told, campaigns.cell()
        )
        made = page.render(whole)
        return made.partition("<h3>Handshakes and energy</h3>")[2].partition("</section>")[0]

    both = overhead(handshakes={"tls": 3, "nebula": 2}, energy_joules=12.5)
    assert '<td class="number">5.00</td><td class="number">5.00</td>' in both
    assert "12.5 J" in both
    neither = overhead()
    assert "No handshakes were counted" in neither
    assert "Energy was not measured: the E3 that ran it did not measure energy." in neither
    assert "<table" not in neither

"""Programs in sessions with real processes: the demos, and what programs of users do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.sessions import Bench

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
DEMOS = ROOT / "demos"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def outputs(result: SessionResult) -> set[str]:
    assert result.verdict is Verdict.COMPLETED, result.reason
    return {party.output for party in result.parties}


def test_helloworld_gives_the_sum(bench: Bench) -> None:
    result = bench.run(DEMOS / "helloworld.py")
    assert outputs(result) == {"Hello world from 3 parties, whose secret numbers add up to 6!\n"}
    assert result.reason == "all 3 parties completed"
    assert [party.pid for party in result.parties] == [0, 1, 2]
    assert all(party.exit == 0 and party.sent_bytes == 60 for party in result.parties)
    assert result.setup_seconds is not None
    assert result.online_seconds is not None
    assert 0 < result.setup_seconds < result.setup_seconds + result.online_seconds
    assert result.online_seconds + result.setup_seconds < result.wall_seconds
    assert bench.leftovers() == []


def test_secret_santa_is_a_derangement(bench: Bench) -> None:
    (output,) = outputs(bench.run(DEMOS / "secret_santa.py", ["--players", "7"]))
    santa = ast.literal_eval(output.rpartition("santa:")[2].strip())
    assert sorted(santa) == list(range(7))
    assert all(receiver != giver for giver, receiver in enumerate(santa))


def test_auction_takes_the_second_price(bench: Bench) -> None:
    (output,) = outputs(bench.run(DEMOS / "auction.py", ["--bids", "20", "--seed", "7"]))
    assert output == "bidder 18 of 20 wins and pays 722\n"


TABLES = [
    "region,income\nnorth,100\nnorth,200\nsouth,50\n",
    "income,region\n300,north\n400,north\n50,south\n",
    "region,income,more\nnorth,500,x\n",
]


def test_survey_says_nothing_about_few_rows(bench: Bench) -> None:
    for host, table in zip(bench.hosts, TABLES, strict=True):
        bench.put(host.name, "/var/lib/e3/inputs/survey.csv", table)
    result = bench.run(DEMOS / "survey.py")
    said = "north: 5 rows, mean 300.0, standard deviation 141.4\nsouth: fewer than 5 rows\n"
    assert [party.output for party in result.parties] == [said] * 3, result.reason
    left = [path.read_text() for path in bench.sessions.glob("*/output/*/statistics.txt")]
    assert set(left) == {said}


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ("region,income\nnorth,secret\n", "survey.csv, line 2: income must be a whole number"),
        ("region,income\nsecret,1\n", "survey.csv, line 2: region is none of --groups"),
        ("", "survey.csv has no column 'income'"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (
                    "region,income\nnorth,-731\n",
                    "survey.csv, line 2: income must be from 0 to 1000000000",
                ),
                ("region,wages\nnorth,731\n", "survey.csv has no column 'income'"),
            )
        ),
    ],
)
def test_survey_names_what_is_wrong_and_shows_none_of_it(
    bench: Bench, table: str, wrong: str
) -> None:
    bench.put("local-0", "/var/lib/e3/inputs/survey.csv", table)
    result = bench.run(DEMOS / "survey.py", parties=1)
    assert result.reason.endswith(wrong)
    assert "secret" not in bench.log(result, 0)
    assert "731" not in bench.log(result, 0).partition("-I 0")[2]


@pytest.mark.parametrize("parties", [1, 2])
def test_few_parties(bench: Bench, parties: int) -> None:
    (output,) = outputs(bench.run(DEMOS / "secret_santa.py", parties=parties))
    assert "santa: [" in output


def test_a_program_that_prints_nothing_completes_and_is_told_so(bench: Bench) -> None:
    result = bench.run(
        "from mpyc.runtime import mpc\nmpc.run(mpc.start())\nmpc.run(mpc.shutdown())"
    )
    assert outputs(result) == {""}
    assert "none printed anything" in result.reason


def test_a_program_without_mpyc(bench: Bench) -> None:
    result = bench.run("print('alone')")
    assert outputs(result) == {"alone\n"}
    assert result.setup_seconds is None
    assert result.online_seconds is None


def test_own_options_of_a_program(bench: Bench) -> None:
    program = """
        import argparse, sys
        from mpyc.runtime import mpc
        parser = argparse.ArgumentParser()
        parser.add_argument('-i', '--input', type=int, nargs='+')
        parser.add_argument('rest', nargs='*')
        args = parser.parse_args()
        print(mpc.options.sec_param, args.input, args.rest, sys.argv)
    """
    (output,) = outputs(bench.run(program, ["-K", "40", "-i", "1", "2", "--", "-x", "y"]))
    assert output == "40 [1, 2] ['-x', 'y'] ['program.py', '-i', '1', '2', '--', '-x', 'y']\n"


def test_a_wrong_option_is_named(bench: Bench) -> None:
    result = bench.run(DEMOS / "helloworld.py", ["--nummer", "1"])
    assert result.verdict is Verdict.PARTY_FAILED
    assert "exited with status 2: " in result.reason
    assert "unrecognized arguments: --nummer 1" in result.reason


def test_a_folder_with_modules_and_data(bench: Bench) -> None:
    folder = bench.folder / "program"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "numbers.txt").write_text("1 2 3")
    (folder / "helper.py").write_text(
        "def total(path): return sum(map(int, open(path).read().split()))"
    )
    (folder / "main.py").write_text(
        "import helper\nfrom mpyc.runtime import mpc\n"
        "if __name__ == '__main__':\n"
        "    mpc.run(mpc.start())\n"
        "    print(helper.total('data/numbers.txt'))\n"
        "    open('written.txt', 'w').write('private')\n"
        "    mpc.run(mpc.shutdown())\n"
    )
    assert outputs(bench.run(folder)) == {"6\n"}
    assert not (folder / "written.txt").exists()
    assert bench.leftovers() == []


def test_numpy(bench: Bench) -> None:
    program = """
        import numpy as np
        from mpyc.runtime import mpc

        async def main():
            async with mpc:
                secfld = mpc.SecFld(101)
                a = secfld.array(np.array([[1, 2], [3, 4]]))
                print((await mpc.output(a @ a)).tolist())

        mpc.run(main())
    """
    assert outputs(bench.run(program)) == {"[[7, 10], [15, 22]]\n"}


def test_several_starts(bench: Bench) -> None:
    program = """
        from mpyc.runtime import mpc
        for i in range(2):
            mpc.run(mpc.start())
            print(mpc.run(mpc.output(mpc.SecInt()(i))))
            mpc.run(mpc.shutdown())
    """
    assert outputs(bench.run(program)) == {"0\n1\n"}


def test_mpyc_listens_at_the_partys_address_alone_at_each_start(bench: Bench) -> None:
    program = """
        from mpyc.runtime import mpc

        addresses = []
        create_server = mpc._loop.create_server

        async def spy(*args, **options):
            server = await create_server(*args, **options)
            addresses.extend(socket.getsockname()[0] for socket in server.sockets)
            return server

        mpc._loop.create_server = spy
        for _ in range(2):
            mpc.run(mpc.start())
            mpc.run(mpc.shutdown())
        print(*addresses)
    """
    result = bench.run(program)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert [party.output.split() for party in result.parties] == [
        [],
        ["127.0.0.3", "127.0.0.3"],
        ["127.0.0.4", "127.0.0.4"],
    ]


def test_a_program_looks_as_it_does_by_hand(bench: Bench) -> None:
    text = """
        import pickle, sys, __main__
        class Pickled: pass
        print(__name__, sorted(vars(__main__)), sys.argv, sys.path[1:], sys.modules.get('e3'))
        print(pickle.dumps(Pickled()), sys.stdout.encoding, sys.stdout.errors, 'é')
        assert __file__.startswith(sys.path[0])
        def fail():
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise ValueError('so it is') from error
        fail()
    """
    program = bench.write(text)
    result = bench.run(program, parties=1)
    argv = [sys.executable, program.name, "-P", f"127.0.0.2:{bench.base_port}", "-I", "0"]
    by_hand = subprocess.run(
        argv, cwd=program.parent, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.parties[0].exit == by_hand.returncode == 1
    assert result.parties[0].output == by_hand.stdout
    log = bench.log(result, 0)
    where = log.partition('File "')[2].partition('"')[0]
    assert by_hand.stderr.replace(str(program), where) in log
    assert result.reason.endswith("ValueError: so it is")

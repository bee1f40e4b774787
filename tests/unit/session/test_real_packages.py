"""Packages that programs of statistics use, from the index of this machine.

They are downloaded and installed, which takes a minute: `E3_INDEX=1 pytest` with this file.
`make test` has one such program, with pandas, in tests/lab/test_run.py.
"""

import os
from pathlib import Path

import pytest

from e3.errors import PlatformError
from tests.sessions import Bench

pytestmark = pytest.mark.skipif(
    "E3_INDEX" not in os.environ, reason="E3_INDEX=1 lets it download packages"
)

PROGRAM = """
    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["{asked}"]
    # ///
    import numpy as np
    from mpyc.runtime import mpc
    {body}

    async def main():
        async with mpc:
            print(int(await mpc.output(mpc.sum(mpc.input(mpc.SecInt()(int(value)))))))

    mpc.run(main())
"""

CASES = {
    "scipy": ("scipy", "from scipy import optimize", "optimize.brentq(lambda x: x - 4, 0, 9) + .5"),
    "scikit-learn": (
        "scikit-learn>=1.5",
        "from sklearn.linear_model import LinearRegression",
        "LinearRegression().fit([[0], [1]], [0, 4]).predict([[1]])[0] + .5",
    ),
    "children of joblib": (
        "joblib",
        "import math, joblib",
        "sum(joblib.Parallel(n_jobs=2)(joblib.delayed(math.sqrt)(x) for x in (1, 9)))",
    ),
    "an older numpy": ("numpy<2.4", "assert np.__version__ < '2.4', np.__version__", "4"),
    "markers and extras": ("requests[socks]; python_version > '3'", "import requests, socks", "4"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_has_what_it_asks_for(tmp_path: Path, name: str) -> None:
    asked, loaded, value = CASES[name]
    tmp_path.chmod(0o755)
    bench = Bench(tmp_path)
    del bench.hosts[2:]
    try:
        text = PROGRAM.format(asked=asked, body=f"{loaded}\n    value = {value}")
        result = bench.run(text, parties=2, deadline_seconds=300)
    except PlatformError as error:
        pytest.skip(f"no index of Python packages: {error}")
    assert result.verdict == "completed", result.reason
    assert [party.output for party in result.parties] == ["8\n", "8\n"]
    assert all("Error" not in bench.log(result, pid) for pid in range(2))

"""Joint statistics: mean and spread over the rows of all parties, and nothing about few rows.

Each party has a table of its own, such as what its patients paid or its employees earn. Together
they want the mean and the standard deviation by group; no party shows its rows, nor its own sums.
Each party adds up its rows by group and shares the sums in secret. A group is opened only if it has
at least `--least` rows among all parties: the comparison is done on secrets, so of a smaller group
nobody learns more than that it is smaller, not even how many rows it has.

A party's table is its private input: a CSV file with a header, of which two columns are used, the
group and a whole number. E3 has it in the folder `$E3_INPUT`:

    e3 input put ams3-0 survey.csv
    e3 run demos/survey.py -- --column income --by region --groups north,south

By hand, `--file` names it; without one a party makes up twenty rows:

    python survey.py -P host0:11365 -P host1:11366 -P host2:11367 -I 0 --file ward.csv
    python survey.py -M3

What is opened can tell about a person if all others of a group compare notes, or if a survey is
repeated when one person has left. `--least` does not protect from that.
"""

import argparse
import csv
import math
import os
import random
import sys
from pathlib import Path

from mpyc.runtime import mpc

HIGHEST = 10**9
"""The highest amount of a row, so that no sum of squares is too large."""

MOST_ROWS = 10**6
"""The most rows of a party."""

NUMBER_BITS = 64 + 40
"""Of a secret number: the squares of all rows of some hundred parties together."""


def arguments() -> argparse.Namespace:
    """Return the program's own options; MPyC has taken out its own."""
    parser = argparse.ArgumentParser(description="Mean and spread by group, over all parties.")
    parser.add_argument("--file", type=Path, help="this party's table (default: as said above)")
    parser.add_argument("--column", default="income", help="the column with whole numbers")
    parser.add_argument("--by", default="region", help="the column with the group")
    parser.add_argument("--groups", default="north,south", help="the groups, public")
    parser.add_argument("--least", type=int, default=5, help="the fewest rows of a group (5)")
    options = parser.parse_args()
    options.groups = options.groups.split(",")
    if options.least < 1:
        parser.error(f"--least {options.least}: choose at least 1")
    if len(set(options.groups)) != len(options.groups):
        parser.error("--groups: a group is named twice")
    return options


def own_rows(options: argparse.Namespace) -> list:
    """Return this party's rows, each a group and an amount."""
    path = options.file
    if path is None and "E3_INPUT" in os.environ:
        path = Path(os.environ["E3_INPUT"], "survey.csv")
    if path is None:
        return [(random.choice(options.groups), random.randint(1000, 9000)) for _ in range(20)]  # noqa: S311 -- made up
    if not path.exists():
        sys.exit(f"{path} does not exist; it is this party's table")
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        for name in (options.column, options.by):
            if name not in (table.fieldnames or ()):
                sys.exit(f"{path.name} has no column {name!r}")
        return [row_of(path.name, table.line_num, row, options) for row in table]


def row_of(name: str, line: int, row: dict, options: argparse.Namespace) -> tuple:
    """Return a row's group and amount; what is wrong with it is said without its content."""
    try:
        amount = int(row[options.column])
    except (TypeError, ValueError):
        sys.exit(f"{name}, line {line}: {options.column} must be a whole number")
    if not 0 <= amount <= HIGHEST:
        sys.exit(f"{name}, line {line}: {options.column} must be from 0 to {HIGHEST}")
    if row[options.by] not in options.groups:
        sys.exit(f"{name}, line {line}: {options.by} is none of --groups")
    return row[options.by], amount


def own_sums(rows: list, groups: list) -> list:
    """Return for each group the number of rows, and the sums of amounts and of their squares."""
    if len(rows) > MOST_ROWS:
        sys.exit(f"{len(rows)} rows are more than {MOST_ROWS}")
    amounts = [[amount for group, amount in rows if group == each] for each in groups]
    return [
        number
        for values in amounts
        for number in (len(values), sum(values), sum(value * value for value in values))
    ]


async def opened(sums: list, least: int) -> list:
    """Return the sums over all parties, of each group that has enough rows; else zeros."""
    secint = mpc.SecInt(NUMBER_BITS)
    shares = mpc.input([secint(number) for number in sums])
    totals = [mpc.sum(list(each)) for each in zip(*shares, strict=True)]
    shown = []
    for first in range(0, len(totals), 3):
        enough = totals[first] >= least
        shown += mpc.scalar_mul(enough, totals[first : first + 3])
    return await mpc.output(shown)


def described(group: str, numbers: list, least: int) -> str:
    """Return a line about a group: its rows, mean and standard deviation."""
    rows, total, squares = numbers
    if not rows:
        return f"{group}: fewer than {least} rows"
    # in whole numbers up to the root: squares may have more digits than a float
    spread = math.sqrt((rows * squares - total * total) / (rows * rows))
    return f"{group}: {rows} rows, mean {total / rows:.1f}, standard deviation {spread:.1f}"


def keep(lines: list) -> None:
    """Leave the statistics as a file, where E3 runs the program."""
    if "E3_OUTPUT" in os.environ:
        Path(os.environ["E3_OUTPUT"], "statistics.txt").write_text("\n".join([*lines, ""]))


async def main() -> None:
    """Compute the statistics of all groups, and print them."""
    options = arguments()
    sums = own_sums(own_rows(options), options.groups)

    async with mpc:
        numbers = await opened(sums, options.least)

    lines = [
        described(group, [int(number) for number in numbers[3 * i : 3 * i + 3]], options.least)
        for i, group in enumerate(options.groups)
    ]
    print("\n".join(lines))
    keep(lines)


if __name__ == "__main__":
    mpc.run(main())

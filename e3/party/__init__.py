"""What is shipped to a host and runs one party there.

Standard library and mpyc only: nothing else of E3 exists on a host. The runner
(`e3.party.runner`) reads what to run from its standard input, forks the
program's process, reports what happens on its standard output, and ends with
everything it started as soon as its input ends.
"""

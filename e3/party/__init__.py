"""The party runner, which is shipped to a host and runs one party there.

It needs the standard library and mpyc only: of the rest of E3, a host has a few modules of
`e3.remote` (`e3.session.runner_files`). The runner (`e3.party.runner`) reads its task from its
standard input, forks the program's process, and reports events on its standard output. When its
input ends, it kills everything that it started, and ends.
"""

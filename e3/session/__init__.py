"""A session: one run of one MPyC program by all its parties.

`programs` reads what is to be run, `plan` seats the parties, `run_session` runs them
each on its lifeline, one session of a stack after another (`queue`), `progress` is what
can be seen meanwhile, `verdicts` says how it ended, `results` is what comes out, and
`runs` reads the evidence of all of them.
"""

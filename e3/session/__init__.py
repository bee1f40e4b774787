"""A session: one run of one MPyC program by all its parties.

`programs` reads the program, `plan` assigns the parties to hosts, and `run_session` runs them,
each on its lifeline; sessions of a stack wait for one another in `queue`. `progress` is what an
observer sees, `verdicts` decides how the session ended, `results` has its result, and `runs`
reads the evidence of all runs.
"""

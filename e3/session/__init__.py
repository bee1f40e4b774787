"""A session: one run of one MPyC program by all its parties.

`programs` reads what is to be run, `plan` seats the parties, `conduct` runs them
under their leashes, `verdicts` says how it ended, `results` is what comes out.
"""

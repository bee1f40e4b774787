"""The checks of `e3 doctor`: one file for each subject, each with a function `check`."""

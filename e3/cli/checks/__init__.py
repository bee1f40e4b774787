"""What `e3 doctor` looks at: one file a matter, each with `check`."""

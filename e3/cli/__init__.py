"""The `e3` command: what helps beside Pulumi. One file a verb, each with `declare` and a run."""

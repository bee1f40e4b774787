"""What scripts/setup does, one kind of step a file; standard library only, as .venv comes last."""

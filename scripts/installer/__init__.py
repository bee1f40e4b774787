"""What scripts/setup does, one kind of step a file; standard library only, as .venv comes last."""

import sys
from pathlib import Path

# `e3.private` and what else of E3 needs no library
sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

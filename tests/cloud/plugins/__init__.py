"""Provider plugins as the engine starts them: ``python -m tests.cloud.plugins.NAME``."""

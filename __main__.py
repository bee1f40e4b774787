"""The Pulumi program: configuration, deployment, outputs."""

import pulumi

from e3 import config, mishaps
from e3.deployment import deploy

try:
    outputs = deploy(config.read())
except Exception as error:  # a sentence for a person, whatever it is
    raise pulumi.RunError(mishaps.told(error)) from error

for name, value in outputs.items():
    pulumi.export(name, value)

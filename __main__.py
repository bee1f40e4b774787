"""The Pulumi program: configuration, deployment, outputs."""

import pulumi

from e3 import config
from e3.deployment import deploy
from e3.errors import E3Error

try:
    outputs = deploy(config.read())
except E3Error as error:
    raise pulumi.RunError(str(error)) from error

for name, value in outputs.items():
    pulumi.export(name, value)

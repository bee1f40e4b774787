"""Several parties compute their mean salary together; nobody learns the salary of another."""

import pulumi

from e3 import Lab, Overlay, Session

settings = pulumi.Config()

lab = Lab(regions={"ams3": 2, "sgp1": 1})
overlay = Overlay(settings.get("overlay") or "nebula", lab)
session = Session("mean", overlay, program="mean.py", deadline_seconds=120)

pulumi.export("hosts", lab.hosts)
pulumi.export("verdict", session.verdict)
pulumi.export("output", session.result["parties"][0]["output"])
pulumi.export("evidence", session.result["evidence"])

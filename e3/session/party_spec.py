"""What plan and rules of a session say of one party, as its runner gets it. Pure."""

from e3.experiment import Rules
from e3.party.protocol import AGREE_SECONDS, Spec, spare_seconds
from e3.session.plan import Plan, Seat

MB = 1_000_000


def party_spec(session: str, plan: Plan, seat: Seat, rules: Rules) -> Spec:
    """Return the spec of the party at a seat, as far as it follows from these."""
    limits = rules.limits
    return Spec(
        session=session,
        pid=seat.pid,
        parties=tuple((each.endpoint.address, each.endpoint.port) for each in plan.seats),
        entry=plan.program.entry,
        args=plan.program.args,
        private=seat.private,
        agree_seconds=AGREE_SECONDS + spare_seconds(len(plan.seats)),
        tls=rules.tls,
        flood_bytes=int(limits.output_mb * MB),
        memory_bytes=int(limits.memory_mb * MB),
        file_bytes=int(limits.files_mb * MB),
        processes=limits.processes,
        unpickle=rules.unpickle,
        network=rules.network,
        output_bytes=int(limits.output_files_mb * MB),
        output_files=limits.output_files,
        outputs=rules.outputs,
        keep=rules.keep,
        input_bytes=int(limits.input_mb * MB),
        input_names=rules.input_names,
    )

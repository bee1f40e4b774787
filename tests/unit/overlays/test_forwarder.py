"""What hosts of overlays that forward connections answer, who may answer anything."""

import msgspec
import pytest

from e3.overlays.forwarder import Answer
from e3.paths import Direct, Relayed, Reported


@pytest.mark.parametrize(
    ("said", "reported"),
    [
        ('{"path":"none"}', "none"),
        ('{"path":"direct"}', "direct"),
        ('{"path":"direct","exchange":"X25519MLKEM768"}', Direct(exchange="X25519MLKEM768")),
        ('{"path":"direct","exchange":"CurveID(4588)"}', Direct(exchange="CurveID(4588)")),
        ('{"path":"relayed"}', "relayed"),
        ('{"path":"relayed","by":"a\\u001b[0m"}', Relayed(by="a\\x1b[0m")),
        (
            '{"path":"relayed","by":"ams3-0","exchange":"X25519"}',
            Relayed(by="ams3-0", exchange="X25519"),
        ),
    ],
)
def test_a_path_is_reported_as_the_host_tells_it(said: str, reported: Reported) -> None:
    assert msgspec.json.decode(said, type=Answer).reported == reported


@pytest.mark.parametrize("exchange", ["x" * 41, "<b>", "X25519\\n", "\\u001b[0m", "é"])
def test_no_exchange_of_keys_has_such_a_name(exchange: str) -> None:
    said = f'{{"path":"direct","exchange":"{exchange}"}}'
    with pytest.raises(msgspec.ValidationError, match=r"exchange"):
        msgspec.json.decode(said, type=Answer)

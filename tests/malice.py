"""What the owner of a host can have its runner do in the agreement, in place of E3's own part."""

ATTACKS = (
    "another-pid",
    "large",
    "garbage",
    "mpyc",
    "half",
    "silence",
    "drip",
    "flood",
    "deep",
    "many-facts",
    "template",
    "large-number",
    "surrogate",
    "truth-for-a-pid",
    "called-off",
    "called-off-blaming",
    "two-faces",
    "agrees-with-one",
    "accuses",
)
"""Party 0 does each; the first two thirds speak to party 2 or to both as no E3 does."""

WAITING = frozenset({"half", "silence", "drip", "agrees-with-one"})
"""Those after which the others wait until their time is up."""

AGREE = """
import os as _os, socket as _socket, struct as _struct, threading as _threading, time as _time
import json as _json
from e3.party import frames as _frames

ATTACK = "{attack}"


def _dial(spec, pid):
    address, port = spec.parties[pid]
    while True:
        link = _socket.socket()
        link.bind((spec.parties[spec.pid][0], 0))
        link.settimeout(30)
        try:
            link.connect((address, port))
            return link
        except ConnectionRefusedError:
            link.close()
            _time.sleep(0.05)


def _state(facts, to, pid=0):
    body = _json.dumps(dict(pid=pid, to=to, facts=facts)).encode()
    return _frames.pack(_frames.STATEMENT, body)


def _off(peer, detail):
    body = _json.dumps(dict(peer=peer, detail=detail)).encode()
    return _frames.pack(_frames.OFF, body)


def _send(spec, facts, began):
    first = lambda: _dial(spec, 2)
    both = lambda: (_dial(spec, 1), _dial(spec, 2))
    wait = 6.0
    if ATTACK == "another-pid":
        links = [first()]
        links[0].sendall(_state(facts, 2, pid=1))
    elif ATTACK == "large":
        links = [first()]
        links[0].sendall(_frames.HEADER.pack(_frames.MAGIC, _frames.VERSION, 1, 0xffffffff))
    elif ATTACK == "garbage":
        links = [first()]
        links[0].sendall(b"\\x99" * 3000)
    elif ATTACK == "mpyc":
        links = [first()]
        links[0].sendall(bytes(2) + b"k" * 16)
    elif ATTACK == "half":
        # to both: else the one that gives up first decides what is reported
        links, wait = both(), 40.0
        for link in links:
            link.sendall(_frames.HEADER.pack(_frames.MAGIC, _frames.VERSION, 1, 500) + b"x" * 9)
    elif ATTACK == "silence":
        links, wait = both(), 40.0
    elif ATTACK == "drip":
        links, wait = both(), 40.0
        for byte in _state(facts, 1):
            for link in links:
                link.sendall(bytes([byte]))
            _time.sleep(0.9)
    elif ATTACK == "flood":
        links = []
        while _time.monotonic() - began < 40:
            links.append(first())
            if len(links) > 300:
                links.pop(0).close()
    elif ATTACK == "deep":
        links = [first()]
        links[0].sendall(_frames.pack(1, b"[" * 60000))
    elif ATTACK == "truth-for-a-pid":
        links = [first()]
        body = _json.dumps(dict(pid=False, to=2, facts=facts)).encode()
        links[0].sendall(_frames.pack(_frames.STATEMENT, body))
    elif ATTACK in ("many-facts", "template", "large-number", "surrogate"):
        links = both()
        odd = {{
            "many-facts": {{f"f{{i}}": i for i in range(4000)}},
            "template": {{"{{x}}": "{{0:999999999}}"}},
            "large-number": {{"m": 10 ** 4000}},
            "surrogate": {{"mpyc": "\\ud800"}},
        }}[ATTACK]
        for to, link in zip((1, 2), links):
            link.sendall(_state(dict(facts, **odd), to))
    elif ATTACK in ("called-off", "called-off-blaming", "accuses"):
        links = both()
        for to, link in zip((1, 2), links):
            link.sendall(_state(facts, to))
        for link in links:
            link.recv(70000)
            link.sendall(_off(None if ATTACK == "called-off" else 1, "sent half a message"))
    elif ATTACK == "two-faces":
        links = both()
        for to, link in zip((1, 2), links):
            link.sendall(_state(facts if to == 1 else dict(facts, program="0" * 64), to))
    elif ATTACK == "agrees-with-one":
        links, wait = both(), 40.0
        for to, link in zip((1, 2), links):
            link.sendall(_state(facts, to))
        links[0].sendall(_frames.pack(_frames.AGREED))
    _time.sleep(wait)


def agree(spec, folder, channel, opened, meanwhile):
    for call in opened.calls.values():
        call.close()
    facts = make(spec, folder)
    channel.say("agreeing")

    done = []

    def hear():
        while not channel.over:
            if not obey(channel, channel.hear()):
                end = Exit(exit=None, why="stop", seconds=0.0, written={{}}, strays=0)
                channel.say("exited", **vars(end))
                channel.flush()
                if not done:
                    _os.kill(_os.getpid(), 15)  # the folder goes as ever
                return

    _threading.Thread(target=hear, daemon=True).start()
    if ATTACK == "accuses":
        _threading.Thread(target=_send, args=(spec, facts, _time.monotonic()), daemon=True).start()
        _time.sleep(1)
    else:
        try:
            _send(spec, facts, _time.monotonic())
        except OSError:
            pass
    done.append(True)
    accused = 1 if ATTACK == "accuses" else None
    detail = "sent half a message" if accused else ""
    channel.say(
        "disagreed", result="incompatible", peer=accused, by=None, detail=detail, found={{}},
        strangers={{}},
    )
    return False


def agree_honestly("""

HONEST = "def agree("


def hostile_agree(attack: str) -> str:
    """Return what stands in place of `HONEST` in ``e3/party/agreement_step.py``."""
    return AGREE.format(attack=attack)

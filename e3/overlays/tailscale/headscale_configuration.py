"""Headscale's configuration as data: control server, map of relays, and access policy.

Documented in github.com/juanfont/headscale, config-example.yaml. All functions are pure.
"""

import hashlib
import ssl

from e3.interfaces import LAST_PARTY_PORT, PARTY_PORT, PROBE_PORT, Host

CONFIGURATION = "/run/e3/headscale"
SECRETS = "/var/lib/e3/headscale"
SOCKET = f"{CONFIGURATION}/headscale.sock"
REGION = 900  # Tailscale reserves 900 to 999 for users' own relays


def configuration(server: Host, *, url: str, control_port: int, stun_port: int) -> object:
    """Return the configuration of Headscale on ``server``, which calls itself ``url``."""
    place = f"{SECRETS}/relay/{server.underlay}"
    return {
        "server_url": url,
        "listen_addr": f"[::]:{control_port}",
        # Neither is used, but Headscale does not start if a name cannot be resolved.
        "metrics_listen_addr": "127.0.0.1:0",
        "grpc_listen_addr": "127.0.0.1:0",
        "grpc_allow_insecure": False,
        "noise": {"private_key_path": f"{SECRETS}/noise.key"},
        "tls_cert_path": f"{place}.crt",
        "tls_key_path": f"{place}.key",
        "prefixes": {"v4": "100.64.0.0/10", "allocation": "sequential"},
        "derp": {
            "server": {
                "enabled": True,
                "automatically_add_embedded_derp_region": False,  # ours names the certificate
                "verify_clients": True,
                "private_key_path": f"{SECRETS}/relay.key",
                "stun_listen_addr": f"[::]:{stun_port}",
                "region_id": REGION,
            },
            "urls": [],
            "paths": [f"{CONFIGURATION}/relay.yaml"],
            "auto_update_enabled": False,
        },
        "disable_check_updates": True,
        "ephemeral_node_inactivity_timeout": "30m",
        "database": {
            "type": "sqlite",
            "sqlite": {"path": f"{SECRETS}/db.sqlite", "write_ahead_log": True},
        },
        "log": {"format": "text", "level": "info"},
        "policy": {"mode": "file", "path": f"{CONFIGURATION}/policy.json"},
        "dns": {
            "magic_dns": False,
            "base_domain": "e3.internal",
            "override_local_dns": False,
            "nameservers": {"global": []},
        },
        "unix_socket": SOCKET,
        "unix_socket_permission": "0700",
        "cli": {"timeout": "25s"},  # of its own command, by default 5 s: too little on a busy host
        "logtail": {"enabled": False},
        # The default delays suit thousands of hosts and make few hosts wait: changes reach
        # clients after the first, by default 800 ms, and some answers of a login after the
        # second, 500 ms. If a client's queue, 30 changes by default, stays full for 50 ms,
        # Headscale stops sending it updates (batcher_lockfree.go): that can happen when dozens
        # of hosts join at once.
        "tuning": {
            "batch_change_delay": "50ms",
            "node_store_batch_timeout": "20ms",
            "node_mapsession_buffered_chan_size": 4096,
            "batcher_workers": 1,  # several may send a change before an earlier one
        },
    }


def relay_map(server: Host, certificate: str, *, control_port: int, stun_port: int) -> object:
    """Return the map of relays, which names the certificate of ours, given as PEM."""
    known = [server.underlay, *filter(None, [server.underlay6])]
    node = {
        "name": f"{REGION}a",
        "regionid": REGION,
        "hostname": server.underlay,
        "certname": f"sha256-raw:{fingerprint(certificate)}",
        "ipv4": next((address for address in known if ":" not in address), "none"),
        "ipv6": next((address for address in known if ":" in address), "none"),
        "stunport": stun_port,
        "stunonly": False,
        "derpport": control_port,
        "canport80": False,
    }
    return {
        "regions": {
            REGION: {
                "regionid": REGION,
                "regioncode": server.name,  # clients report it by this name
                "regionname": f"Relay on {server.name}",
                "nodes": [node],
            }
        }
    }


def policy() -> dict[str, object]:
    """Return the access policy: the stack's hosts reach each other, at the ports of sessions only.

    There are no other nodes, so a rule that names their user would not admit less. And if a rule
    depends on the nodes, Headscale 0.28 loses one of two that log in at once (`SetNodes`).
    """
    ports = f"{PROBE_PORT},{PARTY_PORT}-{LAST_PARTY_PORT}"
    return {"acls": [{"action": "accept", "proto": "tcp", "src": ["*"], "dst": [f"*:{ports}"]}]}


def fingerprint(certificate: str) -> str:
    """Return the SHA-256 digest of a certificate, given as PEM."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()

"""What every command on a host gets, whatever the access."""

ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
"""What every command on a host gets; nothing of the caller's own environment."""

UMASK = 0o022
"""Of every command on a host: the caller's own may forbid what a host's users have to read."""

"""Names and addresses by which a machine reaches itself."""

import ipaddress
from urllib.parse import urlsplit

_NAMES = ("localhost", "localhost.")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's loopback."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _NAMES


def names_loopback(host_and_port: str) -> bool:
    """Whether a request's `Host` is this machine's loopback; any name can lead there, few are its own."""
    try:
        return is_loopback(urlsplit(f"//{host_and_port}").hostname or "")
    except ValueError:
        return False

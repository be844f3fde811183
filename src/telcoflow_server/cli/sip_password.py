"""`telcoflow sip-password`: the hashes of a softphone's password, for the settings file.

Not here: what they are checked with (`sip/digest.py`). Implements docs/reference/cli.md.
"""

from __future__ import annotations

import getpass
import sys

from telcoflow_server.cli.softphone import new_password
from telcoflow_server.settings_error import SettingsError
from telcoflow_server.sip.digest import Algorithm, ha1
from telcoflow_server.sip_settings import ExtensionSettings, SipSettings


def sip_password(user: str, realm: str) -> int:
    """Ask for a password, or make one, and print what is kept of it; return the exit code."""
    try:
        SipSettings(realm=realm)
        ExtensionSettings(user=user, ha1_md5="0" * 32)  # said before a password is typed
        password, is_new = _password()
        extension = ExtensionSettings(
            user=user,
            ha1_md5=ha1(Algorithm.MD5, user, realm, password),
            ha1_sha256=ha1(Algorithm.SHA_256, user, realm, password),
        )
    except SettingsError as error:
        print(f"telcoflow: {error}", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("telcoflow: no password was given", file=sys.stderr)
        return 1
    if is_new:
        print(f"password: {password}\nThis is the only time it is shown.", file=sys.stderr)
    print("[[extensions]]")
    print(f'user = "{extension.user}"')
    print(f'ha1_md5 = "{extension.ha1_md5}"')
    print("# Stronger, for phones that know RFC 8760; some fail where both are offered.")
    print(f'#ha1_sha256 = "{extension.ha1_sha256}"')
    return 0


def _password() -> tuple[str, bool]:
    """Return the password, and whether it was made here.

    A terminal is asked twice, anything else is read to the end of its first line. Empty: one is
    made.
    """
    if not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\r\n")
    else:
        given = getpass.getpass("Password (empty: one is made): ")
        if given and getpass.getpass("Again: ") != given:
            raise SettingsError("password", "was not the same twice")
    return (given, False) if given else (new_password(), True)

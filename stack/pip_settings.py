"""Reads pip's own settings, to know which package index and which certificates this machine uses.

This module needs the standard library only: it works before anything is installed.
"""

import configparser
import os
import re
import ssl
import sys
from pathlib import Path
from typing import Final

DEFAULT_INDEX: Final = "https://pypi.org/simple"  # pip's own default


class SettingsFileError(Exception):
    """A file of settings or certificates cannot be read. The message names it."""


def index_url() -> str:
    """Returns the index of PIP_INDEX_URL, else of uv's variables, else of pip's configuration files, else PyPI."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    if url := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL"):
        return re.sub(r"^[\w.-]+=", "", url)  # uv lets an index have a name
    return configured("index-url") or DEFAULT_INDEX


def certificates() -> ssl.SSLContext:
    """Returns a context that trusts what pip would trust.

    Raises:
        SettingsFileError: the file or folder of certificates cannot be read.
    """
    path = os.environ.get("PIP_CERT") or configured("cert")
    path = path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    try:
        if path and Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)  # None stands for SSL_CERT_FILE, SSL_CERT_DIR or the system's
    except OSError as error:
        raise SettingsFileError(f"cannot read the certificates in {path}: {error}") from error


def configured(option: str) -> str | None:
    """Returns the value that pip's configuration files give to an option of `pip install`, or None.

    Raises:
        SettingsFileError: one of the files is not in the format of pip.
    """
    found = None
    for path in configuration_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, ValueError) as error:
            raise SettingsFileError(f"cannot read {path}: {error}") from error
        for section in ("global", "install"):  # pip lets the second one win
            if parser.has_section(section):
                values = {key.replace("_", "-"): value.strip() for key, value in parser.items(section)}
                found = values.get(option) or found
    return found


def configuration_files() -> list[Path]:
    """Returns the files that pip reads. A later one wins: machine, user, interpreter, PIP_CONFIG_FILE."""
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path.home()
    user = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    mac = home / "Library" / "Application Support"
    if sys.platform == "darwin" and (mac / "pip").is_dir():
        user = mac
    machine = [Path(folder) / "pip" for folder in (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)]
    folders = [*machine, Path("/etc"), home / ".pip", user / "pip", Path(sys.prefix)]
    return [folder / "pip.conf" for folder in folders] + ([Path(chosen)] if chosen else [])

"""Key files for tests: API keys whose texts the test knows."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def key_block(name: str, secret: str, tenant: str, scopes: Iterable[str], user: str | None = None) -> str:
    """Return the `[[key]]` block of a key."""
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    block = f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = [{listed}]\nsha256 = "{digest}"\n'
    return block + (f'user = "{user}"\n' if user else "")


def write_key_file(path: Path, *blocks: str) -> Path:
    """Replace the file in one step, as an operator should, so that no reader sees half of it."""
    half = path.with_suffix(".half")
    half.write_text("\n".join(blocks), encoding="utf-8")
    half.rename(path)
    return path

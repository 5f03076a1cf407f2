"""Files of keys for the built-in codec."""

import base64
import hashlib
from pathlib import Path


def write_codec_keys(path: Path, **tenants: list[str]) -> Path:
    """Write a file with these keys for each tenant; the first one is current. Equal ids are equal keys."""
    lines = []
    for tenant, key_ids in tenants.items():
        keys = ", ".join(f'"{key_id}" = "{_key(tenant, key_id)}"' for key_id in key_ids)
        lines.append(f'[tenant.{tenant}]\ncurrent = "{key_ids[0]}"\nkeys = {{ {keys} }}\n')
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _key(tenant: str, key_id: str) -> str:
    return base64.b64encode(hashlib.sha256(f"{tenant} {key_id}".encode()).digest()).decode()

"""Write docker/.env: .env.example with a fresh secret wherever it leaves one empty. Never replaces an existing file.

python docker/make_env.py
"""

import base64
import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent
SECRETS = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(24),  # hex: it stands in a URL
    "AWS_ACCESS_KEY_ID": lambda: secrets.token_hex(10),
    "AWS_SECRET_ACCESS_KEY": lambda: secrets.token_hex(20),
    "RAY_AUTH_TOKEN": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
    "AIRFLOW_API_SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(15),
    "AIRFLOW_OP_PASSWORD": lambda: secrets.token_urlsafe(15),
    "AIRFLOW_VIEWER_PASSWORD": lambda: secrets.token_urlsafe(15),
    "AIRFLOW_ASSAY_PASSWORD": lambda: secrets.token_urlsafe(24),
}


def filled(example: str) -> str:
    """The example with every empty secret filled; its other lines are unchanged."""
    return re.sub(
        r"^([A-Z_]+)=$",
        lambda line: f"{line[1]}={SECRETS[line[1]]()}" if line[1] in SECRETS else line[0],
        example,
        flags=re.MULTILINE,
    )


def main(target: Path = HERE / ".env") -> int:
    try:
        # Only its owner may read it, from the first byte on.
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target}: is there already, with the secrets the stack was made with; kept as it is", file=sys.stderr)
        return 1
    with os.fdopen(file, "w") as env:
        env.write(filled((HERE / ".env.example").read_text()))
    print(f"{target}: written; the login is admin with AIRFLOW_ADMIN_PASSWORD")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads a line of JSON per message, verifies it with the official package, and answers with the package's own signature.

For `sha256=` there is no package: what the vendor documents is the HMAC of the raw body under the secret's characters.
"""

import base64
import datetime
import hashlib
import hmac
import json
import sys

from standardwebhooks import Webhook


def standard(case, body):
    peer = Webhook(case["secret"])
    headers = {f"webhook-{name}": case[name] for name in ("id", "timestamp", "signature")}
    try:
        peer.verify(body, headers)
        accepted = True
    except Exception:
        accepted = False
    at = datetime.datetime.fromtimestamp(int(case["timestamp"]), tz=datetime.timezone.utc)
    return accepted, peer.sign(case["id"], at, body.decode())


def sha256(case, body):
    digest = hmac.new(case["secret"].encode("utf-8"), body, "sha256").hexdigest()
    own = f"sha256={digest}"
    return hmac.compare_digest(own.encode(), case["signature"].encode()), own


assert "sha256" in hashlib.algorithms_guaranteed
for line in sys.stdin:
    case = json.loads(line)
    check = sha256 if case["scheme"] == "sha256" else standard
    accepted, signature = check(case, base64.b64decode(case["body"]))
    print(json.dumps({"accepted": accepted, "signature": signature}), flush=True)

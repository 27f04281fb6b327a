"""Verifies a webhook of `offhook demo`: python3 verify_webhook.py secret.txt 04-call.ended.headers.json 04-call.ended.body.json"""

import base64, hashlib, hmac, json, sys

secret, headers, body = (open(path, "rb").read() for path in sys.argv[1:4])
headers = json.loads(headers)
key = base64.b64decode(secret.strip().removeprefix(b"whsec_"))
message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
expected = "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
verified = any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split())
sys.exit(0 if verified else "the signature does not match")

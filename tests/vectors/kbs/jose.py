"""A foreign JOSE library (PyPI: jwcrypto) against the sealed resources of `formats/kbs`.

  jose.py make  writes jose.json: resources that jwcrypto sealed, for our opener
  jose.py open  opens every resource of sealed.json, which our sealer made (the tests hold that it
                still makes exactly these bytes), and compares the secrets

Beside this file; needs Python 3 and jwcrypto. The private key is the vectors' (32 bytes of 0x11).
"""

import base64
import json
import pathlib
import secrets
import sys

from jwcrypto import jwe, jwk

HERE = pathlib.Path(__file__).parent
PUBLIC = json.loads((HERE / "kbs.json").read_text())["tee_pubkey"]


def text(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


KEY = jwk.JWK(kty="EC", crv="P-256", x=PUBLIC["x"], y=PUBLIC["y"], d=text(b"\x11" * 32))


def make():
    made = []
    for length in [0, 1, 15, 16, 17, 32, 64, 1000, 5000]:
        secret = secrets.token_bytes(length)
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
        token = jwe.JWE(secret, protected=json.dumps(header))
        token.add_recipient(jwk.JWK(kty="EC", crv="P-256", x=PUBLIC["x"], y=PUBLIC["y"]))
        # The flattened form of jwcrypto has `epk` in a header that is not protected; its compact
        # form has all that the protocol's protected header has, in an order of its own.
        members = ["protected", "encrypted_key", "iv", "ciphertext", "tag"]
        sealed = dict(zip(members, token.serialize(compact=True).split(".")))
        made.append({"secret": secret.hex(), "resource": sealed})
    (HERE / "jose.json").write_text(json.dumps(made, indent=1) + "\n")


def open_ours():
    ours = json.loads((HERE / "sealed.json").read_text())
    for one in ours:
        token = jwe.JWE()
        token.deserialize(one["resource"], KEY)
        assert token.payload.hex() == one["secret"], one
    print(f"jwcrypto opened {len(ours)} resources")


{"make": make, "open": open_ours}[sys.argv[1]]()

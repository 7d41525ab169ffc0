//! `kbs.toml` of a new broker.

/// The document of a new broker, whose files lie beside it.
#[must_use]
pub fn starter() -> String {
    "\
# A key broker of Casemate: `casemate kbs serve --config kbs.toml`. Paths are
# relative to this file. What is not here has its usual value.

# Where guests reach it: IP:PORT, [IPV6]:PORT, unix:PATH. Who may enter the
# folder of that path may connect, as anybody may to a port.
listen = [\"127.0.0.1:8443\"]

# Its identity. Guests pin the SHA-256 of this key (`casemate kbs pin`), and
# nothing else of the certificate.
tls_certificate = \"tls.pem\"
tls_key = \"tls.key\"

# What challenges and sessions are authenticated by. With another key all of
# them end.
broker_key = \"broker.key\"

# The secrets, sealed, and the key that opens them. Keep a copy of the key where
# no copy of the store is.
store = \"store\"
kek = \"kek\"

# Who gets what: sections `attestation` and `secrets`.
policy = \"policy.toml\"

# Certificates and revocation lists of AMD's, as `casemate attest certs --dir
# certs` keeps them; read when the broker starts. Guests on Linux 6.12 send none.
certificates = \"certs\"

# Every decision, before its answer leaves: `casemate kbs log`.
decision_log = \"decisions.jsonl\"
log_key = \"log.key\"

# Where `casemate kbs put` and its like find the broker while it runs.
control = \"control.sock\"

[lifetimes]
challenge = 300    # seconds
session = 300

[limits]
connections = 1024
connections_per_address = 128
requests_per_second = 100    # of one address
workers = 4
"
    .to_owned()
}

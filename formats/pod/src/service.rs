//! Variables of services, which a host adds to every container's environment.
//!
//! Kubernetes writes seven of them a service (pkg/kubelet/envvars/envvars.go), and those of its own
//! API server even where `enableServiceLinks` is false. Their names depend on what else runs in the
//! cluster, so no manifest can list them; it says of all of them that they are dropped, or open.

use crate::open::OpenValue;

/// Longest name of such a variable.
const MAX_NAME: usize = 256;
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable is one of those that Kubernetes makes of a service, with a value that such a
/// one has: an address, a port, a protocol, or `tcp://ADDRESS:PORT`.
#[must_use]
pub fn is_service_variable(name: &str, value: &str) -> bool {
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if name.len() > MAX_NAME || !name.bytes().all(upper) || value.len() > MAX_NAME {
        return false;
    }
    // Services have any names, also ones that end as these do: one form that fits is enough.
    (named(name, "_SERVICE_HOST") && OpenValue::Ip.admits(value))
        || (named(name, "_PORT") && is_url(value))
        || is_service_port(name, value)
        || is_port(name, value)
}

/// `X_SERVICE_PORT`, and `X_SERVICE_PORT_NAME` for ports that have a name.
fn is_service_port(name: &str, value: &str) -> bool {
    let Some((service, port)) = name.split_once("_SERVICE_PORT") else { return false };
    !service.is_empty() && (port.is_empty() || port.starts_with('_')) && port_of(value)
}

/// `X_PORT_443_TCP` and what goes on with `_PROTO`, `_PORT` and `_ADDR`.
fn is_port(name: &str, value: &str) -> bool {
    let is_base = |name: &str| {
        let Some((rest, protocol)) = name.rsplit_once('_') else { return false };
        let Some((service, number)) = rest.rsplit_once('_') else { return false };
        PROTOCOLS.contains(&protocol) && port_of(number) && named(service, "_PORT")
    };
    let of = |end| name.strip_suffix(end).is_some_and(is_base);
    (is_base(name) && is_url(value))
        || (of("_PROTO") && matches!(value, "tcp" | "udp" | "sctp"))
        || (of("_PORT") && port_of(value))
        || (of("_ADDR") && OpenValue::Ip.admits(value))
}

fn named(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|service| !service.is_empty())
}

fn port_of(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_url(text: &str) -> bool {
    let Some((protocol, rest)) = text.split_once("://") else { return false };
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    matches!(protocol, "tcp" | "udp" | "sctp") && port_of(port) && OpenValue::Ip.admits(host)
}

#[cfg(test)]
mod tests {
    use super::is_service_variable;

    /// Protects programs from variables that a host calls those of a service. It cannot tell
    /// whether there is such a service: that is the host's word.
    #[test]
    fn variables_of_services_are_known_by_name_and_value() {
        for (name, value) in [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
            ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
            ("KUBERNETES_PORT_443_TCP", "tcp://10.0.0.1:443"),
            ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
            ("KUBERNETES_PORT_443_TCP_PORT", "443"),
            ("KUBERNETES_PORT_443_TCP_ADDR", "10.0.0.1"),
            ("MY_DB_PORT_53_UDP", "udp://[fd00::1]:53"),
        ] {
            assert!(is_service_variable(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("LD_PRELOAD", "/tmp/x.so"),
            ("_SERVICE_HOST", "10.0.0.1"),
            ("A_SERVICE_HOST", "evil.example"),
            ("A_SERVICE_PORT", "443; rm"),
            ("A_SERVICE_PORTX", "443"),
            ("A_PORT", "file:///etc/passwd"),
            ("A_PORT_443_TCP_MORE", "443"),
            ("A_PORT_443_TCP_ADDR_X", "10.0.0.1"),
            ("a_SERVICE_HOST", "10.0.0.1"),
            ("A_PORT_0_TCP", "tcp://10.0.0.1:443"),
        ] {
            assert!(!is_service_variable(name, value), "{name}={value}");
        }
    }
}

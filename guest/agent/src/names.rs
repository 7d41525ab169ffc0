//! The files of a container that say names and addresses, as the manifest has them.

use casemate_pod::{Dns, Manifest};

/// What is in `/etc` of each container beside its image: a name, and the text. A name that the
/// manifest leaves to the host is not there: nobody has said it yet.
#[must_use]
pub fn files(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let pod = &manifest.pod;
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if let Some(name) = &pod.hostname {
        hosts.push_str(&format!("127.0.1.1 {name}\n"));
    }
    for alias in &pod.hosts {
        hosts.push_str(&alias.line());
        hosts.push('\n');
    }
    let mut all = vec![("hosts", hosts)];
    all.extend(pod.hostname.iter().map(|name| ("hostname", format!("{name}\n"))));
    if let Dns::Fixed(resolver) = &pod.dns {
        all.push(("resolv.conf", resolver.file()));
    }
    all
}

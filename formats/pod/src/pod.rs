//! What holds for all containers of a pod.

use crate::error::PodError;
use crate::value::is_domain;
use std::net::IpAddr;

/// What holds for all containers of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its hostname, a label of DNS; None: the host chooses one, and a guest takes only a label.
    pub hostname: Option<String>,
    /// Where names are looked up.
    pub dns: Dns,
    /// Lines of `/etc/hosts` beside those that the guest writes itself: its own name and addresses.
    pub hosts: Vec<HostAlias>,
    /// Whether there is a network. Its addresses and routes are the host's to choose.
    pub net: bool,
    /// Whether variables of services, which the host adds to environments, are given to programs
    /// where they are of their types ([`crate::is_service_variable`]); else they are dropped.
    pub services: bool,
    /// With how many vCPUs the guest may run, ascending. Each has a launch digest of its own.
    pub vcpus: Vec<u32>,
    /// The key broker is asked only when these have been started, in this order; an init container
    /// has been when it has ended with status 0. Empty: it is asked before the first container.
    pub secrets_after: Vec<String>,
}

/// Where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dns {
    /// The host says; a guest takes only what [`Resolver::check`] admits.
    Open,
    /// As the manifest says.
    Fixed(Resolver),
}

/// What `/etc/resolv.conf` says (resolv.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// At most three, which is what the C library asks.
    pub nameservers: Vec<IpAddr>,
    /// Domains that are tried behind a name, at most 32 as Kubernetes allows.
    pub searches: Vec<String>,
    /// Options such as `ndots:5`, at most 16.
    pub options: Vec<String>,
}

impl Resolver {
    /// Whether it can be a resolver's file: how many of each, names of the form of names, options
    /// of letters, digits, `-`, `_` and `:`.
    ///
    /// # Errors
    /// [`PodError::Value`].
    pub fn check(&self) -> Result<(), PodError> {
        let wrong = |why| Err(PodError::value("pod.dns", why));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
        let option = |text: &String| (1..=32).contains(&text.len()) && text.bytes().all(plain);
        // A name of the root, `.`, is written by hosts that have no domain.
        let search = |text: &String| text == "." || is_domain(text);
        if self.nameservers.len() > 3 {
            wrong("has more than three nameservers")
        } else if self.searches.len() > 32 || !self.searches.iter().all(search) {
            wrong("has more than 32 search domains, or one that is no name")
        } else if self.options.len() > 16 || !self.options.iter().all(option) {
            wrong("has more than 16 options, or one that is no word")
        } else {
            Ok(())
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> String {
        let servers = self.nameservers.iter().map(|address| format!("nameserver {address}\n"));
        let line = |word: &str, list: &[String]| match list {
            [] => String::new(),
            list => format!("{word} {}\n", list.join(" ")),
        };
        let searches = line("search", &self.searches);
        servers.chain([searches, line("options", &self.options)]).collect()
    }
}

/// A line of `/etc/hosts`, written `ADDRESS NAME NAME…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub address: IpAddr,
    /// Its names, at least one.
    pub names: Vec<String>,
}

impl HostAlias {
    /// What is written, read; None where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let address = words.next()?.parse().ok()?;
        Some(Self { address, names: words.map(str::to_owned).collect() })
    }

    pub(crate) fn fits(&self) -> bool {
        (1..=16).contains(&self.names.len()) && self.names.iter().all(|name| is_domain(name))
    }

    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.address, self.names.join(" "))
    }
}

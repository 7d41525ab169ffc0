//! Whom attacks are aimed at: a process of others, and a name at which something listens.

use crate::attack::Victim;
use casemate_sandbox::{Child, Layer, Layers, spawn};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// There until it is dropped.
pub struct Target {
    process: Child,
    name: String,
    _listener: UnixListener,
}

impl Target {
    #[expect(clippy::new_without_default, reason = "it begins a process")]
    pub fn new() -> Self {
        let name = format!("casemate-victim-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let no_layers = Layer::ALL.into_iter().fold(Layers::new("victim"), Layers::without);
        let process = spawn(no_layers, |_born| {
            loop {
                std::thread::park();
            }
        });
        Self { process: process.unwrap(), name, _listener }
    }

    pub fn victim(&self) -> Victim<'_> {
        Victim { pid: self.process.pid(), abstract_socket: self.name.as_bytes() }
    }
}

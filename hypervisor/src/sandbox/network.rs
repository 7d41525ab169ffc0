//! A network namespace without an interface that several processes share, because making one costs most of what
//! spawning a process does.

use super::layer::Layer;
use super::{Layers, SandboxError, spawn};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

/// An empty network namespace. Only root can share one: to enter it takes privilege over its owner.
#[derive(Debug, Clone)]
pub struct SharedNetwork(Arc<File>);

fn refused(call: &'static str) -> impl FnOnce(std::io::Error) -> SandboxError {
    move |source| SandboxError::layer(Layer::NetworkNamespace, call, source)
}

impl SharedNetwork {
    /// Makes a namespace.
    ///
    /// # Errors
    /// [`SandboxError::Layer`] without privilege, [`SandboxError::Threads`].
    pub fn new() -> Result<Self, SandboxError> {
        let layers = Layer::ALL.into_iter().fold(Layers::new("network"), Layers::without);
        // Lives until its namespace has been opened.
        let child = spawn(layers.with(Layer::NetworkNamespace), |_born| {
            loop {
                std::thread::park();
            }
        })?;
        let file = File::open(format!("/proc/{}/ns/net", child.pid()));
        file.map(|file| Self(Arc::new(file))).map_err(refused("open(/proc/PID/ns/net)"))
    }

    /// Moves this thread into the namespace; the way back.
    pub(super) fn enter(&self) -> Result<Left, SandboxError> {
        let own = File::open("/proc/self/ns/net").map_err(refused("open(/proc/self/ns/net)"))?;
        set(&self.0).map_err(refused("setns(shared network)"))?;
        Ok(Left(own))
    }
}

/// The namespace that this thread was in before.
#[derive(Debug)]
pub(super) struct Left(File);

impl Left {
    /// Moves this thread back.
    pub(super) fn come_back(&self) -> Result<(), SandboxError> {
        set(&self.0).map_err(refused("setns(own network)"))
    }
}

fn set(namespace: &File) -> std::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

//! A network namespace without an interface that several processes share, because making one costs
//! most of what spawning a process does.

use super::layer::Layer;
use super::{SandboxError, sys};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The namespace that the calling thread is in.
const THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// An empty network namespace. Only root can share one: to enter it takes privilege over its owner.
#[derive(Debug, Clone)]
pub struct SharedNetwork(Arc<File>);

fn refused(call: &'static str) -> impl FnOnce(std::io::Error) -> SandboxError {
    move |source| SandboxError::layer(Layer::NetworkNamespace, call, source)
}

impl SharedNetwork {
    /// Makes a namespace. This thread is in it meanwhile, no other.
    ///
    /// # Errors
    /// [`SandboxError::Layer`] without privilege. When this thread cannot come back it stays in the
    /// new namespace.
    pub fn new() -> Result<Self, SandboxError> {
        let left = Left::open()?;
        // Root of a user namespace may be able to leave the network but not to enter it again:
        // tried before leaving.
        left.come_back()?;
        sys::unshare_network().map_err(refused("unshare(CLONE_NEWNET)"))?;
        let made = File::open(THIS_THREAD).map_err(refused("open(new network)"));
        left.come_back()?;
        Ok(Self(Arc::new(made?)))
    }

    /// Moves this thread into the namespace; the way back.
    pub(super) fn enter(&self) -> Result<Left, SandboxError> {
        let left = Left::open()?;
        set(&self.0).map_err(refused("setns(shared network)"))?;
        Ok(left)
    }
}

/// The namespace that this thread was in before.
#[derive(Debug)]
pub(super) struct Left(File);

impl Left {
    fn open() -> Result<Self, SandboxError> {
        File::open(THIS_THREAD).map(Self).map_err(refused("open(/proc/thread-self/ns/net)"))
    }

    /// Moves this thread back.
    pub(super) fn come_back(&self) -> Result<(), SandboxError> {
        set(&self.0).map_err(refused("setns(own network)"))
    }
}

fn set(namespace: &File) -> std::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

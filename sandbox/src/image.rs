//! A process that begins from an image of its own, not as a copy of its parent.
//!
//! A copy has what its parent had: the environment with whatever secrets are in it, freed heap, the
//! addresses of everything and the stack's canary. So nothing is copied: the child runs on its
//! parent's memory, which waits, as far as execve (into a control group it is a copy that far).
//! What runs after it is a program in sealed memory, with an empty environment, fresh addresses,
//! and no byte of its parent but those it is given: the bytes of its start, and the descriptors on
//! the keep list, in order from [`FIRST`] on.
//!
//! Two steps are the child's, because only it can make them: it puts the descriptors where the
//! image looks for them, and makes its capabilities ambient, without which execve takes them from a
//! user that is not 0 (capabilities(7)). Every layer is the image's own work ([`Born::of_image`]),
//! so that there is one way to be confined.

use super::directory;
use super::kept::{CHANNEL, FIRST};
use super::layers::Layers;
use super::refusal::{Refusal, refused};
use super::spawn::{Origin, UNBORN, enter, spawn_to_exec};
use super::stages::Born;
use super::start::Start;
use super::sys;
use super::wire::Channel;
use super::{Child, SandboxError};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySets, capabilities, configure_capability_in_ambient_set, set_capabilities,
};
use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A program for confined processes: an ELF file in memory that nobody can change any more.
#[derive(Debug)]
pub struct Image {
    name: CString,
    file: OwnedFd,
}

impl Image {
    /// Puts a program into sealed memory. The name is what the process is called in `ps`.
    ///
    /// # Errors
    /// [`SandboxError::System`] when there is no memory for it.
    pub fn new(name: &str, program: &[u8]) -> Result<Self, SandboxError> {
        let file = Self::empty(name)?;
        let mut rest = program;
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                Err(Errno::INTR) => {}
                // Memory files count, too.
                Err(Errno::FBIG) => {
                    let call = "write(image of a process; a limit on file sizes is in its way: \
                                `ulimit -f unlimited`)";
                    return Err(SandboxError::system(call, Errno::FBIG));
                }
                Err(e) => return Err(SandboxError::system("write(image)", e)),
            }
        }
        Self::sealed(name, file)
    }

    /// A file in memory for a program that is called so.
    pub(super) fn empty(name: &str) -> Result<OwnedFd, SandboxError> {
        let name = c_name(name)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Where a sysctl makes memory files not executable by default (vm.memfd_noexec), one must
        // be asked for. Linux before 6.3 does not know the flag.
        match memfd_create(&name, flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => memfd_create(&name, flags),
            made => made,
        }
        .map_err(|e| SandboxError::system("memfd_create(image)", e))
    }

    /// The program that was written into such a file, which nobody can change from here on.
    pub(super) fn sealed(name: &str, file: OwnedFd) -> Result<Self, SandboxError> {
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&file, seals).map_err(|e| SandboxError::system("fcntl(F_ADD_SEALS)", e))?;
        Ok(Self { name: c_name(name)?, file })
    }
}

fn c_name(name: &str) -> Result<CString, SandboxError> {
    CString::new(name).map_err(|e| SandboxError::system("name of an image", e))
}

/// Starts `image` in a child process with the namespaces of `layers`, and gives it `start` and the
/// descriptors on the keep list, in order. Its main function begins with [`Born::of_image`].
///
/// # Errors
/// As [`super::spawn`]; [`SandboxError::Start`] when `start` is too long for a packet.
pub fn spawn_image(layers: Layers, image: &Image, start: &[u8]) -> Result<Child, SandboxError> {
    spawn_image_with(layers, image, start, |_| ())
}

/// The same, with something more that is done before the image is told to begin. For tests: to
/// watch it from its first step on.
///
/// # Errors
/// As [`spawn_image`].
#[allow(clippy::needless_pass_by_value, reason = "a process's layers are used up, as by `spawn`")]
pub fn spawn_image_with(
    layers: Layers,
    image: &Image,
    start: &[u8],
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let origin = Origin::here();
    let start = Start::new(&layers, origin, start)?;
    let (kept, file) = (layers.keep.clone(), image.file.as_raw_fd());
    let (child, ids) = spawn_to_exec(&layers, |channel| {
        match directory::enter(layers.directory.as_deref()) {
            Ok(()) => become_image(&image.name, file, channel, &kept),
            Err(refusal) => tell(channel, &refusal),
        }
        UNBORN
    })?;
    before(&child);
    child.channel.iter().for_each(|channel| channel.send(&start.encode(ids)));
    Ok(child)
}

/// In the child: replaces the process by the image. Returns only when that fails, and the parent
/// has been told.
fn become_image(name: &CString, file: RawFd, channel: &Channel, kept: &[RawFd]) {
    // All out of the way first: a descriptor may be where another has to go.
    let above = FIRST + RawFd::try_from(kept.len()).unwrap_or(RawFd::MAX / 2);
    let out = |fd| sys::dup_above(fd, above);
    let moved = out(channel.fd()).and_then(|link| {
        let kept = kept.iter().map(|fd| out(*fd)).collect::<Result<Vec<_>, _>>()?;
        Ok((link, out(file)?, kept))
    });
    let (link, file, kept) = match moved {
        Ok(moved) => moved,
        Err(refusal) => return tell(channel, &refusal),
    };
    // From here on the channel's old number can be that of another descriptor.
    let prepared = || {
        sys::dup_to(link, CHANNEL)?;
        for (fd, to) in kept.into_iter().zip(FIRST..) {
            sys::dup_to(fd, to)?;
        }
        keep_capabilities_over_exec()
    };
    let refusal = match prepared() {
        Ok(()) => sys::exec(file, name),
        Err(refusal) => refusal,
    };
    if let Some(channel) = sys::take(link).and_then(Channel::in_image) {
        tell(&channel, &refusal);
    }
}

fn tell(channel: &Channel, refusal: &Refusal) {
    let call = format!("starting the image: {}: {}", refusal.call, refusal.source);
    let source = std::io::Error::other(call);
    channel.tell(Err(&SandboxError::System { call: "exec", source }));
}

/// Makes every capability that the process has inheritable and ambient.
/// [`super::Layer::Capabilities`] takes them all.
fn keep_capabilities_over_exec() -> Result<(), Refusal> {
    let now = capabilities(None).map_err(refused("capget"))?;
    let inheritable = CapabilitySets { inheritable: now.permitted, ..now };
    set_capabilities(None, inheritable).map_err(refused("capset(inheritable)"))?;
    for capability in now.permitted.iter() {
        configure_capability_in_ambient_set(capability, true)
            .map_err(refused("prctl(PR_CAP_AMBIENT_RAISE)"))?;
    }
    Ok(())
}

/// What an image was given.
#[derive(Debug)]
pub struct Given {
    /// The bytes of its start.
    pub start: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Given {
    /// The next of the kept descriptors, in the order in which they were kept.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

impl Born {
    /// The calling process, which [`spawn_image`] started; to be called once, first.
    ///
    /// # Errors
    /// [`SandboxError::Start`] when the process was started otherwise, or its parent is gone;
    /// [`SandboxError::Layer`] for a required layer that cannot be had, of which the parent is
    /// told.
    pub fn of_image() -> Result<(Self, Given), SandboxError> {
        static BEGUN: AtomicBool = AtomicBool::new(false);
        if BEGUN.swap(true, Ordering::Relaxed) {
            return Err(SandboxError::Start("it has begun already"));
        }
        let channel = sys::take(CHANNEL).and_then(Channel::in_image);
        let channel = channel.ok_or(SandboxError::Start("there is no channel to a parent"))?;
        let Some((start, ids)) = Start::receive(&channel) else {
            return Err(SandboxError::Start("the parent is gone or talks nonsense"));
        };
        let Start { layers, origin, bytes } = start;
        let mut report = super::Report::default();
        match enter(&layers, &channel, ids, origin.user, &mut report) {
            Ok(true) => {}
            Ok(false) => return Err(SandboxError::Start("the parent is gone")),
            Err(error) => {
                channel.tell(Err(&error));
                return Err(error);
            }
        }
        let descriptors = layers.keep.iter().filter_map(|fd| sys::take(*fd)).collect();
        let born = Self::in_child(layers, report, channel, origin.mounts);
        Ok((born, Given { start: bytes, descriptors }))
    }
}

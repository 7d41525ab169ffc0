//! The lock: spawns processes, confines them, and shows what is in force.
//!
//! Every process goes the same way, and types keep the order: [`spawn`] copies the caller (no exec)
//! into new namespaces and gives the child's body a [`Born`]; `Born::confine` applies every layer
//! but the filter and gives a [`Setup`], in which threads may be made and memory mapped;
//! `Setup::lock` installs the filter of a [`Profile`] on all threads and gives a [`Locked`], which
//! can only be narrowed. Whatever will be used must be open before.
//!
//! A layer that the host cannot give is an error unless [`Layers`] calls it optional; the
//! [`Report`] tells what was applied. A process that breaks its filter dies at once
//! ([`Exit::Filter`]).
//!
//! Limits: x86-64 Linux; only a process with one thread can spawn or be confined; what pointers
//! point to is beyond a filter's sight, so profiles pin descriptors, requests and flags.
//!
//! UNSAFETY: clone, unshare, prctl, close_range, seccomp, mallopt and ptrace have no safe wrapper,
//! and a heap gives out raw memory.
#![allow(unsafe_code, reason = "the calls that confine a process have no safe wrapper")]

mod beside;
mod bytes;
mod child;
mod descriptors;
mod directory;
mod error;
mod exit;
mod fence;
mod fence_seen;
mod filesystem;
mod filter;
mod filter_seen;
mod group;
mod heap;
mod heap_memory;
mod identity;
mod image;
mod inspect;
mod kept;
mod landlock_deny;
mod layer;
mod layers;
mod limits;
mod namespace;
mod network;
mod observe;
mod packets;
mod peer;
mod privileges;
mod profile;
mod program;
mod refusal;
mod spawn;
mod speculation;
mod stages;
mod start;
mod sys;
mod syscalls;
mod trace;
mod weaker;
mod wire;

pub use child::Child;
pub use directory::InDirectory;
pub use error::SandboxError;
pub use exit::Exit;
pub use fence::Fence;
pub use fence_seen::FenceSeen;
pub use filter_seen::Filter;
pub use group::ControlGroup;
pub use heap::{Heap, freeze_heap, reserve_heap};
pub use image::{Given, Image, spawn_image, spawn_image_with};
pub use inspect::{InForce, inspect};
pub use layer::{Layer, Need, Report, State};
pub use layers::Layers;
pub use limits::Limits;
pub use network::SharedNetwork;
pub use observe::{Call, Observed, Observer, Usage};
pub use packets::{Packet, decode_packet};
pub use peer::{Peer, peer};
pub use privileges::NOBODY;
pub use profile::{Action, FdSlot, FdTable, Pin, Profile, Rule};
pub use program::{Beginning, Program};
pub use spawn::{spawn, try_group};
pub use stages::{Born, Locked, NARROW, ReadyToLock, Setup};
pub use sys::{UFFDIO_REGISTER, exit};
pub use syscalls::{Syscall, name_of, sys};
pub use weaker::Demand;

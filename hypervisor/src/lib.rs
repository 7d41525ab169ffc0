//! Casemate: a small KVM hypervisor for SEV-SNP confidential VMs.
//!
//! The way through this library is that of a VM: [`config`] (what the user asks for), [`launch`]
//! (what will be in guest memory), [`vm`] (the processes and their life), [`kvm`] (the kernel's
//! side), [`exits`] and [`bus`] (what a running guest asks of us), [`devices`], and [`vhost_user`]
//! (how those are spoken to that are processes of their own).

pub mod bus;
pub mod config;
pub mod devices;
pub mod event;
pub mod exits;
pub mod host;
pub mod kvm;
pub mod launch;
pub mod memory;
pub mod vhost_user;
pub mod vm;

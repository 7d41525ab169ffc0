//! Casemate: a small KVM hypervisor for SEV-SNP confidential VMs.

pub mod cli;

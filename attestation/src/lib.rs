//! What is PROVEN about an SEV-SNP guest: launch digests, attestation reports, certificates, evidence.
//!
//! Nothing here knows of KVM; bytes come in, typed results go out. No module does I/O on its own,
//! except for the certificate store, which reads and writes one directory.
//!
//! - [`digest`]: the launch digest of a guest, page by page, and the VMSA pages that KVM builds.
#![forbid(unsafe_code)]

pub mod digest;

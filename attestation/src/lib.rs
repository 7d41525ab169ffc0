//! What is PROVEN about an SEV-SNP guest: launch digests, attestation reports, certificates,
//! evidence.
//!
//! Nothing here knows of KVM; bytes come in, typed results go out. I/O is in two modules: the
//! certificate store reads and writes one directory, and `fetch` asks one server.
//!
//! - [`digest`]: the launch digest of a guest, page by page, and the VMSA pages that KVM builds.
//! - [`report`]: the attestation report, with its state in its type.
//! - [`cert`]: certificates and revocation lists, the built-in roots.
//! - [`verify`]: every check, the appraisal policy, the verdict.
//! - [`context`]: REPORT_DATA that says what a report was made for.
//! - [`document`]: what a document about reports is: an isolation policy or an appraisal.
//! - [`ear`]: a verdict as an EAT Attestation Result.
//! - [`evidence`]: the forms in which reports travel.
//! - [`store`]: a directory of certificates.
//! - [`selection`]: which certificate and which lists a report is judged with, and what is missing.
//! - [`kds`]: the addresses of AMD's key server; `fetch` (feature): asking it.
//! - [`record`]: verifications on record, replayable.
//! - [`measure`]: expected launch digests of QEMU, EC2, GCE and IGVM guests, and of any launch
//!   plan.
//! - [`idblock`]: ID blocks and their authentication.
//! - `model` (feature): a software model of the security processor.
#![forbid(unsafe_code)]

mod base64;
pub mod cert;
pub mod context;
pub mod crypto;
pub mod digest;
pub mod document;
pub mod ear;
pub mod evidence;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod guest_policy;
pub mod hex;
pub mod idblock;
pub mod kds;
pub mod measure;
#[cfg(feature = "model")]
pub mod model;
mod packed;
pub mod record;
pub mod report;
pub mod selection;
pub mod store;
pub mod time;
pub mod verify;

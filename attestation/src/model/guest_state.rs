//! What a guest's reports are made of.

use crate::report::Tcb;

/// What a guest's reports are made of. Plain data: a daemon may fill it from a launch that ran
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the fields of a report")]
pub struct GuestState {
    pub policy: u64,
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub guest_svn: u32,
    pub id_key_digest: [u8; 48],
    pub author_key_digest: Option<[u8; 48]>,
    pub report_id: [u8; 32],
    pub launch_tcb: Tcb,
    pub launch_mitigations: u64,
    /// The guest may not use the VCEK.
    pub vcek_disabled: bool,
    /// The keys of the secrets page, by VMPL.
    pub vmpck: [[u8; 32]; 4],
    /// Sequence number of the last message under each key.
    pub message_count: [u64; 4],
}

//! The context of one guest: launch, ID block, secrets page, message counters.

use super::message::{self, Header, MESSAGE_SIZE, put};
use super::random::random;
use super::{GuestState, ModelError, Processor, Status, request};
use crate::digest::{LaunchDigest, PAGE_SIZE, PageKind};
use crate::idblock::{self, IdBlock, IdError};
use crate::report::{POLICY_MUST_BE_ONE, unknown_policy_bits};

/// Guest policy and platform bits that must agree: policy bit, platform bit.
const POLICY_NEEDS_PLATFORM: [(u64, u64); 2] = [(1 << 23, 1 << 3), (1 << 24, 1 << 4)];
/// SMT allowed by the policy.
const POLICY_SMT: u64 = 1 << 16;
/// SMT on, by PLATFORM_INFO.
const PLATFORM_SMT: u64 = 1;

/// What the host gives at LAUNCH_FINISH.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish<'a> {
    /// ID block and ID authentication.
    pub id: Option<(&'a [u8], &'a [u8])>,
    /// The ID authentication has an author key.
    pub author_key: bool,
    /// Never sign with the VCEK.
    pub vcek_disabled: bool,
    /// HOST_DATA of every report.
    pub host_data: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Launching,
    Running,
}

/// One guest, launching or running.
#[derive(Debug, Clone)]
pub struct Guest {
    phase: Phase,
    digest: LaunchDigest,
    state: GuestState,
}

impl Guest {
    /// LAUNCH_START: checks the policy against the platform.
    ///
    /// # Errors
    /// [`Status::PolicyFailure`] when firmware or platform cannot keep the policy;
    /// [`Status::ResourceLimit`] when the system gives no random numbers.
    pub fn start(processor: &Processor, policy: u64) -> Result<Self, Status> {
        let config = processor.config();
        let [minor, major, ..] = policy.to_le_bytes();
        let firmware = config.current_version;
        let platform = config.platform_info;
        // The firmware refuses what it cannot keep (56860, SNP_LAUNCH_START): bit 17 not one, bits
        // it does not know, an ABI version above its own, SMT where it is on and not allowed, and a
        // protection that the platform has not.
        let missing = POLICY_NEEDS_PLATFORM
            .iter()
            .any(|(policy_bit, bit)| policy & policy_bit != 0 && platform & bit == 0);
        let refused = policy & POLICY_MUST_BE_ONE == 0
            || unknown_policy_bits(policy) != 0
            || (major, minor) > (firmware.major, firmware.minor)
            || (policy & POLICY_SMT == 0 && platform & PLATFORM_SMT != 0)
            || missing;
        if refused {
            return Err(Status::PolicyFailure);
        }
        let state = GuestState {
            policy,
            measurement: [0; 48],
            host_data: [0; 32],
            family_id: [0; 16],
            image_id: [0; 16],
            guest_svn: 0,
            id_key_digest: [0; 48],
            author_key_digest: None,
            report_id: random().map_err(|_| Status::ResourceLimit)?,
            launch_tcb: config.current_tcb,
            launch_mitigations: config.mitigations,
            vcek_disabled: false,
            vmpck: keys().map_err(|_| Status::ResourceLimit)?,
            message_count: [0; 4],
        };
        Ok(Self { phase: Phase::Launching, digest: LaunchDigest::new(), state })
    }

    /// A running guest whose launch was made elsewhere, as by a model of KVM's side.
    #[must_use]
    pub const fn running(state: GuestState) -> Self {
        Self { phase: Phase::Running, digest: LaunchDigest::resume(state.measurement), state }
    }

    /// LAUNCH_UPDATE of one page.
    ///
    /// # Errors
    /// [`Status::InvalidGuestState`] after the launch, [`Status::InvalidAddress`] for an unaligned
    /// address.
    pub fn update(
        &mut self,
        kind: PageKind,
        gpa: u64,
        contents: &[u8; PAGE_SIZE],
    ) -> Result<(), Status> {
        if self.phase != Phase::Launching {
            return Err(Status::InvalidGuestState);
        }
        if !gpa.is_multiple_of(4096) {
            return Err(Status::InvalidAddress);
        }
        self.digest.page(kind, gpa, contents);
        Ok(())
    }

    /// LAUNCH_FINISH: checks the ID block and ends the launch. A refused finish leaves the launch
    /// as it was.
    ///
    /// # Errors
    /// [`Status::InvalidGuestState`] after the launch; for the ID block [`Status::InvalidParam`],
    /// [`Status::PolicyFailure`], [`Status::BadMeasurement`], [`Status::Unsupported`] or
    /// [`Status::BadSignature`].
    pub fn finish(&mut self, finish: &Finish<'_>) -> Result<(), Status> {
        if self.phase != Phase::Launching {
            return Err(Status::InvalidGuestState);
        }
        // Built beside the state and put in its place at the end: a launch that was refused can be
        // finished with another ID block.
        let mut state = self.state.clone();
        state.measurement = self.digest.current();
        state.host_data = finish.host_data;
        state.vcek_disabled = finish.vcek_disabled;
        match finish.id {
            // An author key is part of the ID authentication; without one the flag has nothing to
            // mean.
            None if finish.author_key => return Err(Status::InvalidParam),
            None => {}
            Some((block, auth)) => apply_id(&mut state, block, auth, finish.author_key)?,
        }
        self.state = state;
        self.phase = Phase::Running;
        Ok(())
    }

    /// What the guest's reports are made of.
    #[must_use]
    pub const fn state(&self) -> &GuestState {
        &self.state
    }

    /// The secrets page: version, processor, message keys.
    /// Source: Linux arch/x86/include/asm/sev.h `struct snp_secrets_page`.
    #[must_use]
    pub fn secrets_page(&self, processor: &Processor) -> [u8; PAGE_SIZE] {
        let mut page = [0; PAGE_SIZE];
        // Version 3 of the page. The processor lies in the order of the CPUID register, stepping
        // first.
        put(&mut page, 0, &3u32.to_le_bytes());
        let [family, model, stepping] = processor.config().cpuid;
        put(&mut page, 8, &[stepping, model, family, 0]);
        // VMPCK0 to VMPCK3 from 0x20 on, 32 bytes each.
        for (offset, key) in (0x20..).step_by(32).zip(&self.state.vmpck) {
            put(&mut page, offset, key);
        }
        page
    }

    /// SNP_GUEST_REQUEST: decrypts a request, answers it, encrypts the answer.
    ///
    /// # Errors
    /// [`Status::InvalidGuestState`] during the launch, [`Status::InvalidParam`] for a bad header
    /// or type, [`Status::AeadOverflow`] for a wrong or exhausted sequence number,
    /// [`Status::BadMeasurement`] for a message that does not decrypt. The sequence number moves
    /// only when an answer is given.
    pub fn request(
        &mut self,
        processor: &Processor,
        page: &[u8; MESSAGE_SIZE],
    ) -> Result<[u8; MESSAGE_SIZE], Status> {
        if self.phase != Phase::Running {
            return Err(Status::InvalidGuestState);
        }
        // The header is read before it is authenticated, since it says which key authenticates it.
        // What it says beyond that counts only after the message has opened.
        let header = Header::read(page)?;
        let slot = usize::from(header.vmpck);
        let key = *self.state.vmpck.get(slot).ok_or(Status::InvalidParam)?;
        let count = self.state.message_count.get(slot).copied().ok_or(Status::InvalidParam)?;
        // A request and its answer take one number each. The counter never wraps: a number used
        // twice under one key would be a nonce used twice.
        let answer_sequence = count.checked_add(2).ok_or(Status::AeadOverflow)?;
        if Some(header.sequence) != count.checked_add(1) {
            return Err(Status::AeadOverflow);
        }
        // The checks are in the order of the errors: a number that is not the next one is told
        // before a tag that does not fit.
        let (header, payload) = message::open(page, &key)?;
        let (kind, answer) = request::answer(processor, &self.state, &header, &payload)?;
        let header = Header { sequence: answer_sequence, kind, version: 1, ..header };
        let sealed = message::seal(header, &key, &answer)?;
        // Last, when there is an answer: a guest whose request failed may send it again under the
        // same number.
        if let Some(count) = self.state.message_count.get_mut(slot) {
            *count = answer_sequence;
        }
        Ok(sealed)
    }
}

fn apply_id(state: &mut GuestState, block: &[u8], auth: &[u8], author: bool) -> Result<(), Status> {
    let parsed = IdBlock::parse(block).map_err(|_| Status::InvalidParam)?;
    // Policy and digest before signatures: comparisons first, and the faults that a wrong launch
    // has.
    if parsed.policy != state.policy {
        return Err(Status::PolicyFailure);
    }
    if parsed.launch_digest != state.measurement {
        return Err(Status::BadMeasurement);
    }
    let digests = idblock::check(block, auth, author).map_err(|error| match error {
        IdError::Signature(_) => Status::BadSignature,
        IdError::Algorithm(_) => Status::Unsupported,
        _ => Status::InvalidParam,
    })?;
    state.family_id = parsed.family_id;
    state.image_id = parsed.image_id;
    state.guest_svn = parsed.guest_svn;
    state.id_key_digest = digests.id_key;
    state.author_key_digest = digests.author_key;
    Ok(())
}

fn keys() -> Result<[[u8; 32]; 4], ModelError> {
    Ok([random()?, random()?, random()?, random()?])
}

//! The requests a guest can make: MSG_REPORT_REQ and MSG_KEY_REQ.

use super::message::{Header, MessageType, put};
use super::{GuestState, Processor, Status};
use ring::hmac;

/// MSG_REPORT_REQ: asks for an attestation report about the guest itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportRequest {
    /// REPORT_DATA of the report, the guest's choice.
    pub report_data: [u8; 64],
    /// VMPL of the report; not below that of the message key.
    pub vmpl: u32,
    /// 0: VLEK if there is one, else VCEK; 1: VCEK; 2: VLEK.
    pub key_select: u32,
}

impl ReportRequest {
    /// The payload of such a message: 96 bytes, the last 24 reserved.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 96] {
        let mut out = [0; 96];
        put(&mut out, 0, &self.report_data);
        put(&mut out, 64, &self.vmpl.to_le_bytes());
        put(&mut out, 68, &self.key_select.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (report_data, rest) = bytes.split_first_chunk::<64>()?;
        let (vmpl, rest) = rest.split_first_chunk::<4>()?;
        let (key_select, reserved) = rest.split_first_chunk::<4>()?;
        // Reserved bytes have to be zero: what a later format puts there would otherwise be passed
        // over.
        let sound = reserved.len() == 24 && reserved.iter().all(|byte| *byte == 0);
        sound.then(|| Self {
            report_data: *report_data,
            vmpl: u32::from_le_bytes(*vmpl),
            key_select: u32::from_le_bytes(*key_select),
        })
    }
}

/// MSG_KEY_REQ: asks for a key that only this guest, or one like it, can get again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRequest {
    /// Bit 0: 0 derives from the VCEK, 1 from the migration root key; bits 2:1 as `key_select` of a
    /// report.
    pub root_key_select: u32,
    /// Which fields are mixed in: 0 policy, 1 image, 2 family, 3 measurement, 4 SVN, 5 TCB.
    pub fields: u64,
    /// VMPL mixed in; not below that of the message key.
    pub vmpl: u32,
    /// SVN mixed in; not above that of the ID block.
    pub guest_svn: u32,
    /// TCB mixed in; not above the committed one.
    pub tcb: [u8; 8],
}

impl KeyRequest {
    /// The payload of such a message: 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        put(&mut out, 0, &self.root_key_select.to_le_bytes());
        put(&mut out, 8, &self.fields.to_le_bytes());
        put(&mut out, 16, &self.vmpl.to_le_bytes());
        put(&mut out, 20, &self.guest_svn.to_le_bytes());
        put(&mut out, 24, &self.tcb);
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (root_key_select, rest) = bytes.split_first_chunk::<4>()?;
        let (reserved, rest) = rest.split_first_chunk::<4>()?;
        let (fields, rest) = rest.split_first_chunk::<8>()?;
        let (vmpl, rest) = rest.split_first_chunk::<4>()?;
        let (guest_svn, rest) = rest.split_first_chunk::<4>()?;
        let tcb = <[u8; 8]>::try_from(rest).ok()?;
        (*reserved == [0; 4]).then(|| Self {
            root_key_select: u32::from_le_bytes(*root_key_select),
            fields: u64::from_le_bytes(*fields),
            vmpl: u32::from_le_bytes(*vmpl),
            guest_svn: u32::from_le_bytes(*guest_svn),
            tcb,
        })
    }
}

/// Answers a decrypted request. Trouble with its contents is told inside the answer, as the
/// firmware does.
pub(super) fn answer(
    processor: &Processor,
    state: &GuestState,
    header: &Header,
    payload: &[u8],
) -> Result<(MessageType, Vec<u8>), Status> {
    match header.kind {
        MessageType::ReportRequest => {
            let report = ReportRequest::parse(payload)
                .filter(|request| allowed(request.vmpl, header))
                .ok_or(Status::InvalidParam)
                .and_then(|request| {
                    let data = request.report_data;
                    processor.report(state, data, request.vmpl, request.key_select)
                });
            // MSG_REPORT_RSP: status and size, in 32 bytes with what is reserved; the report
            // follows only where there is one.
            let mut out = vec![0; 32];
            match report {
                Ok(report) => {
                    put(&mut out, 4, &1184u32.to_le_bytes());
                    out.extend(report);
                }
                Err(status) => put(&mut out, 0, &status.code().to_le_bytes()),
            }
            Ok((MessageType::ReportResponse, out))
        }
        MessageType::KeyRequest => {
            let key = KeyRequest::parse(payload)
                .filter(|request| allowed(request.vmpl, header))
                .ok_or(Status::InvalidParam)
                .and_then(|request| derive(processor, state, &request));
            // MSG_KEY_RSP: status in the first word, the key in the second half.
            let mut out = vec![0; 64];
            match key {
                Ok(key) => put(&mut out, 32, &key),
                Err(status) => put(&mut out, 0, &status.code().to_le_bytes()),
            }
            Ok((MessageType::KeyResponse, out))
        }
        // Answers come from the firmware, and CPUID requests are not modelled.
        _ => Err(Status::InvalidParam),
    }
}

/// A guest may speak for its own VMPL and for less privileged ones.
fn allowed(vmpl: u32, header: &Header) -> bool {
    vmpl < 4 && vmpl >= u32::from(header.vmpck)
}

fn derive(
    processor: &Processor,
    state: &GuestState,
    request: &KeyRequest,
) -> Result<[u8; 32], Status> {
    const KNOWN_FIELDS: u64 = 0x3f;
    let committed = processor.config().committed_tcb;
    let tcb = crate::report::Tcb(request.tcb);
    // Values may be below what is in force and not above: a guest asks for a key of an older state
    // of itself, never for that of one it has not reached.
    let refused = request.fields & !KNOWN_FIELDS != 0
        || request.root_key_select > 1
        || request.guest_svn > state.guest_svn
        || tcb.first_above(committed, processor.config().generation).is_some();
    if refused {
        return Err(Status::InvalidParam);
    }
    if request.root_key_select == 0 && state.vcek_disabled {
        return Err(Status::InvalidKey);
    }
    // This model's own rule, not AMD's: an HMAC over the request and the fields that it selects. It
    // is as stable and as selective as the firmware's, which is all that a guest can see.
    let mut context = hmac::Context::with_key(processor.derivation_key());
    context.update(b"MODEL MSG_KEY");
    context.update(&request.to_bytes());
    let fields: [&[u8]; 6] = [
        &state.policy.to_le_bytes(),
        &state.image_id,
        &state.family_id,
        &state.measurement,
        &request.guest_svn.to_le_bytes(),
        &request.tcb,
    ];
    // The order of the fields is that of their bits, and it is part of the rule.
    for (bit, field) in fields.into_iter().enumerate() {
        if request.fields >> bit & 1 == 1 {
            context.update(field);
        }
    }
    context.sign().as_ref().try_into().map_err(|_| Status::InvalidKey)
}

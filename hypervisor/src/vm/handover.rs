//! What the vmm process is given when it begins from an image: descriptors in a fixed order, and a
//! sealed file with the plan.
//!
//! The file holds the plan as bytes and what a plan's bytes leave out: the policy's limits on page
//! states and the certificates for the guest. It is sealed before the process exists, so what is
//! decoded is what was written. The process believes its supervisor, who could do worse than lie to
//! it; it decodes totally all the same.

use super::engine::HostFds;
use super::vmm::VmmInput;
use crate::launch::LaunchPlan;
use casemate_attestation::evidence::GuestCertTable;
use casemate_policy::PageStateLimits;
use casemate_sandbox::{Child, Given, Image, Layers, SandboxError, spawn_image_with};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

/// First byte of a start: which descriptors come.
const PLAIN: u8 = 1;
/// With /dev/sev as the last one.
const WITH_SEV: u8 = 2;

/// Starts the vmm process; `before` is called before it begins, see [`spawn_image_with`].
///
/// # Errors
/// [`SandboxError`].
pub fn spawn(
    image: &Image,
    layers: Layers,
    input: &VmmInput,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let plan = sealed(&encode(&input.plan)).map_err(|e| SandboxError::System {
        call: "a file in memory for the plan",
        source: e.into(),
    })?;
    let VmmInput { host, control, console, .. } = input;
    let layers = layers.keep(&host.dev_kvm).keep(control).keep(console).keep(&plan);
    match &host.dev_sev {
        None => spawn_image_with(layers, image, &[PLAIN], before),
        Some(dev_sev) => spawn_image_with(layers.keep(dev_sev), image, &[WITH_SEV], before),
    }
}

/// What the image was given; None when its supervisor is another version, or none of ours.
pub(super) fn take(mut given: Given) -> Option<VmmInput> {
    let with_sev = match *given.start.as_slice() {
        [PLAIN] => false,
        [WITH_SEV] => true,
        _ => return None,
    };
    let dev_kvm = given.descriptor()?;
    let (control, console) = (given.descriptor()?, given.descriptor()?);
    let mut bytes = Vec::new();
    let mut file = File::from(given.descriptor()?);
    file.rewind().ok()?;
    file.read_to_end(&mut bytes).ok()?;
    let dev_sev = if with_sev { Some(given.descriptor()?) } else { None };
    let plan = decode(&bytes)?;
    Some(VmmInput { host: HostFds { dev_kvm, dev_sev }, control, console, plan })
}

/// Limits (zeros for a plain VM), length of the certificates and they themselves, the plan.
fn encode(plan: &LaunchPlan) -> Vec<u8> {
    let launch = plan.snp.as_ref();
    let limits = launch.map_or([0; PageStateLimits::BYTES], |launch| launch.page_limits.to_bytes());
    let certs =
        launch.and_then(|launch| launch.certs.as_ref()).map_or(&[][..], |certs| certs.bytes());
    let len = u32::try_from(certs.len()).unwrap_or(0);
    [&limits[..], &len.to_le_bytes(), certs, &plan.to_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<LaunchPlan> {
    let (limits, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (certs, plan) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let limits = PageStateLimits::from_bytes(limits)?;
    let mut plan = LaunchPlan::from_bytes_under(plan, || limits).ok()?;
    if !certs.is_empty() {
        let table = GuestCertTable::new(certs.to_vec()).ok()?;
        plan.snp.as_mut()?.certs = Some(table);
    }
    Some(plan)
}

/// A file in memory with these bytes, which nobody can change any more.
fn sealed(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = memfd_create("plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(file.as_fd(), seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::{PageStateLimits, decode, encode};
    use crate::config::{RawConfig, RawSnp};
    use crate::launch::{BootState, LaunchPlan, PageKind};
    use crate::memory::RamMap;
    use casemate_policy::Policy;

    fn plan(snp: bool) -> LaunchPlan {
        let boot = BootState { rip: 1, rsp: 2, rsi: 3, cr3: 0x1000 };
        let mut plan = LaunchPlan::new(RamMap::new(64 << 20).unwrap(), 2, boot);
        plan.add_pages("boot code", PageKind::Normal, 0x10_0000, vec![7; 4096]).unwrap();
        plan.stage("kernel", 0x20_0000, vec![8; 5000]).unwrap();
        let raw = RawConfig {
            kernel: Some("k".into()),
            protection: Some("sev-snp".into()),
            snp: Some(RawSnp::default()),
            ..RawConfig::default()
        };
        if snp {
            let mut launch = raw.validate().unwrap().snp.unwrap();
            launch.page_limits = Policy::builtin_permissive().page_state_limits();
            plan.snp = Some(launch);
        }
        plan
    }

    /// Protects the guest's launch: the process launches what the supervisor planned, under the
    /// policy's limits.
    #[test]
    fn plan_arrives_with_the_limits_that_its_bytes_leave_out() {
        for snp in [false, true] {
            let sent = plan(snp);
            let got = decode(&encode(&sent)).unwrap();
            assert_eq!(got.to_bytes(), sent.to_bytes());
            let limits = |plan: &LaunchPlan| plan.snp.as_ref().map(|launch| launch.page_limits);
            assert_eq!(limits(&got), limits(&sent));
        }
    }

    #[test]
    fn what_is_cut_off_or_has_more_is_no_plan() {
        let bytes = encode(&plan(true));
        for len in (0..bytes.len()).step_by(97).chain(0..64) {
            assert!(decode(bytes.get(..len).unwrap()).is_none(), "{len}");
        }
        let mut more = bytes.clone();
        more.push(0);
        assert!(decode(&more).is_none());
        let mut verdict = bytes;
        verdict[PageStateLimits::BYTES - 1] = 3;
        assert!(decode(&verdict).is_none(), "a denial that admits");
    }
}

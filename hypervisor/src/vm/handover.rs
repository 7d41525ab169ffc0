//! What the vmm process is given: at its start the VM's shape, descriptors in a fixed order and an
//! empty file; when the policy has admitted the VM, the plan in that file and a message.
//!
//! So the process sets its VM up while nobody knows yet whether there will be a guest. Until the
//! message comes the file is empty, and there is no other way in which a byte of a guest reaches
//! the process. Whoever holds a [`PlanFile`] hands over once, and a VM that is denied ends by
//! dropping what was begun.
//!
//! The file holds the plan as bytes and what a plan's bytes leave out: the policy's limits on page
//! states and the certificates for the guest; and what this host's CPUID can be. It is sealed
//! before the message is sent, so what is decoded is what was written, and it can be read in place:
//! an initrd is copied into the file, and from it into guest memory. The process believes its
//! supervisor, who could do worse than lie to it; it decodes totally all the same.

use super::engine::HostFds;
use super::protocol::{MESSAGE_SIZE, ToVmm};
use super::virtio::{BackEndOf, DeviceSocket, MAX_DEVICES};
use crate::kvm::SupportedCpuid;
use crate::launch::{LaunchPlan, Shape};
use crate::memory::SealedBytes;
use casemate_attestation::evidence::GuestCertTable;
use casemate_device_process::DeviceKind;
use casemate_policy::PageStateLimits;
use casemate_sandbox::{Child, Given, Image, Layers, SandboxError, spawn_image_with};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What the process begins with.
#[derive(Debug)]
pub struct VmmInput {
    /// Device files, open.
    pub host: HostFds,
    /// Messages, SEQPACKET.
    pub control: OwnedFd,
    /// Console bytes, STREAM.
    pub console: OwnedFd,
    /// The VM to set up.
    pub shape: Shape,
    /// The file in which the plan of the launch will be ([`PlanFile`]).
    pub plan: OwnedFd,
    /// The VM's devices, whose processes are there when the plan is.
    pub devices: Vec<DeviceSocket>,
}

/// First byte of a start: which descriptors come.
const PLAIN: u8 = 1;
/// With /dev/sev behind the plan's file.
const WITH_SEV: u8 = 2;
/// Bytes that say what a device is: its kind, whose back end it has, its number of queues, whether
/// it has a standby, and six of an address.
const DEVICE: usize = 10;

/// Starts the vmm process, which sets up the VM of `input` and waits for [`PlanFile::hand_over`];
/// `before` is called before it begins, see [`spawn_image_with`].
///
/// # Errors
/// [`SandboxError`].
pub fn spawn(
    image: &Image,
    layers: Layers,
    input: &VmmInput,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let VmmInput { host, control, console, shape, plan, devices } = input;
    let layers = layers.keep(&host.dev_kvm).keep(control).keep(console).keep(plan);
    let (kind, mut layers) = match &host.dev_sev {
        None => (PLAIN, layers),
        Some(dev_sev) => (WITH_SEV, layers.keep(dev_sev)),
    };
    let mut start = [&[kind][..], &shape.to_bytes()].concat();
    for DeviceSocket { kind, of, queues, socket, standby, mac } in devices {
        layers = standby.iter().fold(layers.keep(socket), Layers::keep);
        let queues = u8::try_from(*queues).unwrap_or(0);
        start.extend([kind.number(), *of as u8, queues, standby.is_some().into()]);
        // No card has this address.
        start.extend(mac.unwrap_or_default());
    }
    spawn_image_with(layers, image, &start, before)
}

/// What the image was given; None when its supervisor is another version, or none of ours.
pub(super) fn take(mut given: Given) -> Option<VmmInput> {
    let start = std::mem::take(&mut given.start);
    let (kind, rest) = start.split_first()?;
    let (shape, kinds) = rest.split_first_chunk()?;
    let shape = Shape::from_bytes(shape)?;
    let with_sev = match *kind {
        PLAIN => false,
        WITH_SEV => true,
        _ => return None,
    };
    let dev_kvm = given.descriptor()?;
    let (control, console) = (given.descriptor()?, given.descriptor()?);
    let plan = given.descriptor()?;
    let dev_sev = if with_sev { Some(given.descriptor()?) } else { None };
    let mut devices = Vec::new();
    for device in kinds.chunks(DEVICE) {
        let &[kind, of, queues, standby @ (0 | 1), ref mac @ ..] = device else { return None };
        let mac: [u8; 6] = mac.try_into().ok()?;
        let kind = DeviceKind::of_number(kind)?;
        let of = BackEndOf::ALL.into_iter().find(|known| *known as u8 == of)?;
        let socket = given.descriptor()?;
        let standby = if standby == 1 { Some(given.descriptor()?) } else { None };
        let (queues, mac) = (queues.into(), Some(mac).filter(|mac| *mac != [0; 6]));
        devices.push(DeviceSocket { kind, of, queues, socket, standby, mac });
    }
    let host = HostFds { dev_kvm, dev_sev };
    let input = VmmInput { host, control, console, shape, plan, devices };
    (input.devices.len() <= MAX_DEVICES).then_some(input)
}

/// The file in which a plan is handed over: empty until then.
#[derive(Debug)]
pub struct PlanFile {
    file: OwnedFd,
    /// What the process is spared to ask, if anything.
    supported: Option<SupportedCpuid>,
}

impl PlanFile {
    /// An empty one.
    ///
    /// # Errors
    /// [`SandboxError::System`].
    pub fn new() -> Result<Self, SandboxError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("plan", flags).map_err(|e| failed(e.into()))?;
        Ok(Self { file, supported: None })
    }

    /// Its descriptor for the process that will read it.
    ///
    /// # Errors
    /// [`SandboxError::System`].
    pub fn for_process(&self) -> Result<OwnedFd, SandboxError> {
        self.file.try_clone().map_err(failed)
    }

    /// Has the process know this host's CPUID, too.
    pub fn tell_supported(&mut self, supported: SupportedCpuid) {
        self.supported = Some(supported);
    }

    /// Hands `plan` over: the policy has admitted it.
    ///
    /// A process that has failed or died meanwhile does not hear of it; what it said before, or its
    /// end, tells.
    ///
    /// # Errors
    /// [`SandboxError::System`] when the plan cannot be written; then nothing is handed over.
    pub fn hand_over(self, plan: &LaunchPlan, control: &OwnedFd) -> Result<(), SandboxError> {
        let Self { file, supported } = self;
        let mut file = BufWriter::new(File::from(file));
        write(plan, supported.as_ref(), &mut file).and_then(|()| file.flush()).map_err(failed)?;
        fcntl_add_seals(file.get_ref().as_fd(), SEALS).map_err(|e| failed(e.into()))?;
        let _ = send(control, &ToVmm::Launch.encode(), SendFlags::NOSIGNAL);
        Ok(())
    }
}

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

fn failed(source: io::Error) -> SandboxError {
    SandboxError::System { call: "a file in memory for the plan", source }
}

/// What the vmm process's supervisor wants of it.
#[derive(Debug)]
pub(super) enum Wish {
    /// That it launches this plan; with it perhaps what KVM need not be asked.
    Launch(Box<LaunchPlan>, Option<SupportedCpuid>),
    /// Nothing any more: the VM is denied, or the supervisor is gone.
    End,
    /// What no supervisor of this version sends.
    Nonsense,
}

/// Waits for the plan.
pub(super) fn wait(control: &OwnedFd, plan: OwnedFd) -> Wish {
    let mut packet = [0; MESSAGE_SIZE];
    let len = loop {
        match recv(control, &mut packet[..], RecvFlags::empty()) {
            Ok((0, _)) => return Wish::End,
            Ok((len, _)) => break len,
            Err(Errno::INTR) => {}
            Err(_) => return Wish::End,
        }
    };
    let Some(Ok(ToVmm::Launch)) = packet.get(..len).map(ToVmm::decode) else {
        return Wish::Nonsense;
    };
    let file = SealedBytes::map(plan).map(Arc::new);
    match file.ok().and_then(|file| read(&file)) {
        Some((plan, supported)) => Wish::Launch(Box::new(plan), supported),
        None => Wish::Nonsense,
    }
}

/// Length of the CPUID table and it itself, limits (zeros for a plain VM), length of the
/// certificates and they themselves, the plan.
fn write(
    plan: &LaunchPlan,
    supported: Option<&SupportedCpuid>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let supported = supported.map(SupportedCpuid::to_bytes).unwrap_or_default();
    to.write_all(&u32::try_from(supported.len()).unwrap_or(0).to_le_bytes())?;
    to.write_all(&supported)?;
    let launch = plan.snp.as_ref();
    let limits = launch.map_or([0; PageStateLimits::BYTES], |launch| launch.page_limits.to_bytes());
    let certs =
        launch.and_then(|launch| launch.certs.as_ref()).map_or(&[][..], |certs| certs.bytes());
    to.write_all(&limits)?;
    to.write_all(&u32::try_from(certs.len()).unwrap_or(0).to_le_bytes())?;
    to.write_all(certs)?;
    plan.write_to(to)
}

/// A length, as many bytes, and the rest.
fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

fn read(file: &Arc<SealedBytes>) -> Option<(LaunchPlan, Option<SupportedCpuid>)> {
    let (supported, rest) = split_counted(file)?;
    let supported = match supported {
        [] => None,
        table => Some(SupportedCpuid::from_bytes(table)?),
    };
    let (limits, rest) = rest.split_first_chunk()?;
    let (certs, plan) = split_counted(rest)?;
    let limits = PageStateLimits::from_bytes(limits)?;
    let at = file.len().checked_sub(plan.len())?;
    let mut plan = LaunchPlan::from_sealed(file, at, limits).ok()?;
    if !certs.is_empty() {
        let table = GuestCertTable::new(certs.to_vec()).ok()?;
        plan.snp.as_mut()?.certs = Some(table);
    }
    Some((plan, supported))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RawConfig, RawSnp};
    use crate::launch::{BootState, PageKind};
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

    /// What a process reads that was handed a file with these bytes.
    fn decode(bytes: &[u8]) -> Option<(LaunchPlan, Option<SupportedCpuid>)> {
        let file = PlanFile::new().unwrap();
        assert_eq!(rustix::io::write(&file.file, bytes), Ok(bytes.len()));
        fcntl_add_seals(&file.file, SEALS).unwrap();
        read(&Arc::new(SealedBytes::map(file.file).unwrap()))
    }

    fn encode(plan: &LaunchPlan) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(plan, None, &mut bytes).unwrap();
        bytes
    }

    /// A table of two leaves.
    fn table() -> SupportedCpuid {
        SupportedCpuid::from_bytes(&(0..56).collect::<Vec<u8>>()).unwrap()
    }

    /// Protects the guest's launch: the process launches what the supervisor planned, under the
    /// policy's limits.
    #[test]
    fn plan_arrives_with_the_limits_that_its_bytes_leave_out() {
        for snp in [false, true] {
            let sent = plan(snp);
            let (got, supported) = decode(&encode(&sent)).unwrap();
            assert_eq!(supported, None);
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
        verdict[4 + PageStateLimits::BYTES - 1] = 3;
        assert!(decode(&verdict).is_none(), "a denial that admits");
    }

    /// The two ends of a handover: what the process then wishes, after `supervisor` did its part.
    fn handed(supervisor: impl FnOnce(PlanFile, OwnedFd)) -> Wish {
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let file = PlanFile::new().unwrap();
        let its_file = file.for_process().unwrap();
        supervisor(file, ours);
        wait(&theirs, its_file)
    }

    /// Protects what the policy says: a plan is launched when it was handed over, and nothing else
    /// makes the process go on.
    #[test]
    fn a_plan_is_launched_only_when_it_was_handed_over_whole_and_sealed() {
        let sent = plan(true);
        let launched = handed(|mut file, control| {
            file.tell_supported(table());
            file.hand_over(&sent, &control).unwrap();
        });
        let Wish::Launch(got, Some(supported)) = launched else { panic!("{launched:?}") };
        assert_eq!((got.to_bytes(), supported), (sent.to_bytes(), table()));
        assert!(matches!(handed(|_, _| ()), Wish::End), "a denial drops both ends");
        let unsealed = handed(|file, control| {
            rustix::io::write(&file.file, &encode(&sent)).unwrap();
            send(&control, &ToVmm::Launch.encode(), SendFlags::NOSIGNAL).unwrap();
        });
        assert!(matches!(unsealed, Wish::Nonsense), "a plan that can still change");
        let other = handed(|file, control| {
            let (_, to_nobody) = std::os::unix::net::UnixDatagram::pair().unwrap();
            file.hand_over(&sent, &to_nobody.into()).unwrap();
            send(&control, &ToVmm::PowerButton.encode(), SendFlags::NOSIGNAL).unwrap();
        });
        assert!(matches!(other, Wish::Nonsense), "another message");
    }
}

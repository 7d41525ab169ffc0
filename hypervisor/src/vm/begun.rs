//! What of a VM is begun while nothing is decided yet: the host's devices are opened, and the vmm
//! process is started, which makes of KVM what the configuration's numbers say, and waits.
//!
//! KVM's part and that of the new process take as long as reading, hashing and asking together, so
//! they are done at the same time. What fails here is kept and told where it would be met if it had
//! been done last: the answer to wrong input, or the policy's, does not depend on who was faster.

use super::cgroup::{self, Groups};
use super::engine::HostFds;
use super::error::VmError;
use super::handover::{self, PlanFile, VmmInput};
use super::kind::ProcessKind;
use super::lone::Lone;
use super::spawning::{begins, layers, pair};
use super::virtio::{BackEndOf, DeviceSocket, NET_QUEUES, VSOCK_QUEUES};
use super::{open, profile};
use crate::config::{ForeignKind, Leaf, Protection, VmConfig};
use crate::kvm::SupportedCpuid;
use crate::launch::{LaunchError, Shape};
use casemate_device_process::DeviceKind;
use casemate_sandbox::{Child, Program};
use rustix::net::SocketType;
use std::os::fd::OwnedFd;

/// What came of the beginning.
#[derive(Debug)]
pub(super) enum Begun {
    /// The process is at it, or has told what it failed with.
    Waiting(Waiting),
    /// The host has not what the VM needs.
    HostLacks(VmError),
    /// Anything else.
    Failed(VmError),
}

/// A vmm process that sets its VM up and waits for a plan. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) kind: ProcessKind,
    pub(super) process: Child,
    pub(super) control: OwnedFd,
    pub(super) console: OwnedFd,
    pub(super) file: PlanFile,
    /// The ends of its sockets that are for the processes of disks.
    pub(super) disks: Vec<DiskSockets>,
    /// The same for the process of the socket device.
    pub(super) vsock: Option<OwnedFd>,
    /// The same for those of network devices.
    pub(super) nets: Vec<OwnedFd>,
    /// The same for devices that are one process each, in their order.
    pub(super) lone: Vec<OwnedFd>,
}

/// The ends of a disk's sockets that are for its processes.
#[derive(Debug)]
pub(super) struct DiskSockets {
    /// For the one that serves.
    pub(super) serving: OwnedFd,
    /// For the one that stands by.
    pub(super) standby: Option<OwnedFd>,
}

impl Begun {
    /// Begins the VM of `config`, from the program `vmm`, in a group of `groups`; `foreign` are its
    /// sockets for back ends of others.
    pub(super) fn new(
        config: &VmConfig,
        foreign: &[OwnedFd],
        vmm: &Program,
        groups: Option<&Groups>,
    ) -> Self {
        // Sizes that no host can give are not tried: whoever checks the input says so.
        if let Err(e) = open::check_memory(config.memory) {
            return Self::Failed(e.into());
        }
        match Shape::of(config) {
            Ok(shape) => Self::of_shape(config, &shape, foreign, vmm, groups),
            Err(e) => Self::Failed(LaunchError::Range(e).into()),
        }
    }

    /// The same for a VM of this shape.
    pub(super) fn of_shape(
        config: &VmConfig,
        shape: &Shape,
        foreign: &[OwnedFd],
        vmm: &Program,
        groups: Option<&Groups>,
    ) -> Self {
        match host_fds(config) {
            Err(e) => Self::HostLacks(e),
            Ok(host) => {
                let begun = Waiting::start(config, host, (shape, foreign), vmm, groups);
                begun.map_or_else(Self::Failed, Self::Waiting)
            }
        }
    }

    /// The process, now that everything else is right; what it failed with comes later.
    ///
    /// # Errors
    /// What the host lacks.
    pub(super) fn on_this_host(self) -> Result<Result<Waiting, VmError>, VmError> {
        match self {
            Self::Waiting(waiting) => Ok(Ok(waiting)),
            Self::HostLacks(e) => Err(e),
            Self::Failed(e) => Ok(Err(e)),
        }
    }
}

impl Waiting {
    fn start(
        config: &VmConfig,
        host: HostFds,
        (shape, foreign): (&Shape, &[OwnedFd]),
        vmm: &Program,
        groups: Option<&Groups>,
    ) -> Result<Self, VmError> {
        let image = vmm.image()?;
        let mut file = PlanFile::new()?;
        let (control, vmm_control) = pair(SocketType::SEQPACKET)?;
        let (console, vmm_console) = pair(SocketType::STREAM)?;
        let (mut devices, mut disks) = (Vec::new(), Vec::new());
        for disk in &config.disks {
            let kind = DeviceKind::Block;
            let (socket, serving) = pair(SocketType::STREAM)?;
            let other = disk.standby.then(|| pair(SocketType::STREAM)).transpose()?;
            let (standby, its_standby) = other.unzip();
            disks.push(DiskSockets { serving, standby: its_standby });
            let of = BackEndOf::Ours;
            let (queues, mac) = (disk.queues, None);
            devices.push(DeviceSocket { kind, of, queues, socket, standby, mac });
        }
        for (foreign, socket) in config.foreign.iter().zip(foreign) {
            let (kind, queues) = (foreign.kind.device(), foreign.queues);
            let mac = match foreign.kind {
                ForeignKind::Net { mac } => Some(mac),
                ForeignKind::Block | ForeignKind::Vsock => None,
            };
            let socket = socket.try_clone().map_err(VmError::System)?;
            let (of, standby) = (BackEndOf::Others, None);
            devices.push(DeviceSocket { kind, of, queues, socket, standby, mac });
        }
        let mut vsock = None;
        if config.vsock.is_some() {
            let (socket, end) = pair(SocketType::STREAM)?;
            vsock = Some(end);
            let (kind, of) = (DeviceKind::Vsock, BackEndOf::Ours);
            let (queues, standby, mac) = (VSOCK_QUEUES, None, None);
            devices.push(DeviceSocket { kind, of, queues, socket, standby, mac });
        }
        let mut lone = Vec::new();
        for device in Lone::of(config) {
            let (socket, end) = pair(SocketType::STREAM)?;
            lone.push(end);
            devices.push(device.for_vmm(socket));
        }
        let mut nets = Vec::new();
        for _ in &config.nets {
            let (socket, end) = pair(SocketType::STREAM)?;
            nets.push(end);
            let (kind, of) = (DeviceKind::Net, BackEndOf::Ours);
            let (queues, standby, mac) = (NET_QUEUES, None, None);
            devices.push(DeviceSocket { kind, of, queues, socket, standby, mac });
        }
        let input = VmmInput {
            host,
            control: vmm_control,
            console: vmm_console,
            shape: shape.clone(),
            plan: file.for_process()?,
            devices,
        };
        let layers = layers(profile::vmm_layers(!config.foreign.is_empty()), config);
        let layers = cgroup::enter(layers, groups, Leaf::Vmm);
        let snp = config.snp.is_some();
        let kind = if snp { ProcessKind::VmmConfidential } else { ProcessKind::Vmm };
        let process = handover::spawn(&image, layers, &input, |child| begins(kind, child))?;
        if !snp {
            // While that process begins: the answer takes KVM as long as a VM. Should there be
            // none, the process asks, and tells why.
            let supported = SupportedCpuid::of(&input.host.dev_kvm).ok();
            supported.into_iter().for_each(|supported| file.tell_supported(supported));
        }
        Ok(Self { kind, process, control, console, file, disks, vsock, lone, nets })
    }
}

/// Opens the device files, and refuses a confidential VM on a host that cannot give one.
pub(super) fn host_fds(config: &VmConfig) -> Result<HostFds, VmError> {
    let dev_kvm = OwnedFd::from(open::dev_kvm()?);
    let dev_sev = match config.protection {
        Protection::None => None,
        Protection::SevSnp => {
            if !crate::kvm::offers_snp(&dev_kvm).map_err(VmError::Kvm)? {
                return Err(VmError::Protection("KVM offers no SEV-SNP VMs (type 4)".into()));
            }
            let dev_sev = open::dev_sev()
                .map_err(|e| VmError::Protection(format!("/dev/sev cannot be opened: {e}")))?;
            Some(OwnedFd::from(dev_sev))
        }
    };
    Ok(HostFds { dev_kvm, dev_sev })
}

//! TAPs, opened or made when the policy has admitted the VM. One that is made here is gone when
//! nobody has it open any more, however its VM ends: the kernel sees to it.

use crate::config::Net;
use casemate_device_net::{Facts, QUEUES, Tap, TapError};
use casemate_policy::{DeviceFact, DeviceKind as Kind, NetworkRules};

/// A network device of the configuration, with its TAP.
#[derive(Debug)]
pub(super) struct OpenNet {
    pub(super) tap: Tap,
    pub(super) net: Net,
}

/// Opens or makes every TAP.
///
/// # Errors
/// [`TapError`] for the first that cannot be had.
pub(super) fn open(nets: Vec<Net>) -> Result<Vec<OpenNet>, TapError> {
    nets.into_iter().map(|net| Ok(OpenNet { tap: Tap::open(&net.tap)?, net })).collect()
}

impl OpenNet {
    /// What the policy is told.
    pub(super) fn fact() -> DeviceFact<'static> {
        DeviceFact {
            kind: Kind::Net,
            path: None,
            read_only: false,
            foreign: false,
            queues: QUEUES.into(),
        }
    }

    /// What its process is told.
    pub(super) fn facts(&self, rules: NetworkRules) -> Facts {
        let Net { mac, mtu, limits, .. } = self.net;
        Facts { mac, mtu, offered: self.tap.offered(), limits, rules }
    }
}

//! Who asks the engine, and acts on its answer: one table. The reference and the fields' own texts come
//! from it, `casemate run` asks at the points that it says, and tests hold the parts named to it.

use super::{Key, Point};

/// The part of Casemate that enforces a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcer {
    /// The supervisor, about the machine.
    HostAtStart,
    /// The supervisor, about the plan and the configuration.
    Start,
    /// The kernel; the supervisor compares.
    ControlGroup,
    /// The kernel; the supervisor compares.
    OpenFiles,
    /// The supervisor, by refusing what nobody can keep.
    StartWithoutFacts,
    /// The vmm process.
    PageStates,
    /// The verifier.
    Verifier,
    /// Nobody yet: nothing that a configuration can say needs it.
    Devices,
    /// Nobody yet: nothing that a configuration can say needs it.
    Network,
    /// Nobody yet: no part releases secrets.
    Broker,
}

impl Enforcer {
    /// The text under `Enforced by` in the reference.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::HostAtStart => {
                "`casemate run`, before anything of the VM is started, on what the kernel and the \
                 firmware of this host report. What they do not report is not known, and refused by \
                 every rule but `any`"
            }
            Self::Start => {
                "`casemate run`, before anything of the VM is started, on its configuration and its \
                 launch plan"
            }
            Self::ControlGroup => {
                "the kernel, by the limit that the control group `casemate run` is started in has \
                 (version 2, the least of it and those above; `systemd-run --scope` makes one). \
                 `casemate run` makes no group: it compares that limit, which is without end where \
                 there is none"
            }
            Self::OpenFiles => {
                "the kernel, by the resource limit that `casemate run` is started with (`ulimit -n`) \
                 and its processes inherit; `casemate run` compares it"
            }
            Self::StartWithoutFacts => {
                "`casemate run`, which refuses a confidential guest under any rule but `any`: KVM hands \
                 these requests to the firmware and tells nobody, so no other rule can be kept. A guest \
                 without protection has no security processor to ask"
            }
            Self::PageStates => "the vmm process, on each change that the guest asks for",
            Self::Verifier => {
                "`casemate attest verify --policy`, on a report whose signature and chain are good"
            }
            Self::Devices => {
                "`casemate run`, before anything of the VM is started, on the devices of the \
                 configuration. This version has none, and refuses a configuration that names any; they \
                 are planned for 0.2"
            }
            Self::Network => {
                "nothing yet: no guest has a network in this version, and a configuration that names \
                 one is refused. Planned for 0.2, with the process of the `net` device"
            }
            Self::Broker => {
                "nothing yet: this version releases no secrets. Planned for 0.2, with the key broker"
            }
        }
    }
}

/// Who enforces the rules on this fact at this point.
#[must_use]
pub const fn enforcer(point: Point, key: Key) -> Enforcer {
    match (point, key) {
        (Point::Host, _) => Enforcer::HostAtStart,
        (
            Point::Resources,
            Key::ResourcesCpuPercent | Key::ResourcesCgroupMemory | Key::ResourcesPids,
        ) => Enforcer::ControlGroup,
        (Point::Resources, Key::ResourcesOpenFiles) => Enforcer::OpenFiles,
        (Point::Launch | Point::Resources | Point::Access, _) => Enforcer::Start,
        (Point::Devices, _) => Enforcer::Devices,
        (Point::Egress | Point::EgressRate, _) => Enforcer::Network,
        (Point::PageState, _) => Enforcer::PageStates,
        (Point::GuestRequest, _) => Enforcer::StartWithoutFacts,
        (Point::Attestation, _) => Enforcer::Verifier,
        (Point::Secrets, _) => Enforcer::Broker,
    }
}

impl Point {
    /// Whether `casemate run` asks at this point before it starts anything.
    #[must_use]
    pub const fn is_asked_at_start(self) -> bool {
        matches!(
            enforcer(self, Key::Setting),
            Enforcer::HostAtStart
                | Enforcer::Start
                | Enforcer::StartWithoutFacts
                | Enforcer::Devices
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Enforcer, Point, enforcer};
    use crate::fields::GRANT_FIELDS;

    /// A field says who enforces it by the table's words. Cannot tell whether that part does: the tests of
    /// the parts do.
    #[test]
    fn every_field_names_the_enforcer_of_the_table() {
        for point in Point::ALL {
            for field in point.fields() {
                let text = enforcer(point, field.key).text();
                assert_eq!(field.enforced_by, text, "{}", field.path);
            }
        }
        for field in GRANT_FIELDS {
            assert_eq!(field.enforced_by, Enforcer::Broker.text(), "{}", field.path);
        }
    }
}

//! Who asks the engine, and acts on its answer: one table. The reference and the fields' own texts
//! come from it, `casemate run` asks at the points that it says, and tests hold the parts named to
//! it.

use super::{Enforcer, Key, Point};

/// Who enforces the rules on this fact at this point.
#[must_use]
pub const fn enforcer(point: Point, key: Key) -> Enforcer {
    // One arm for each point, narrower ones before: the compiler demands that a new point be named
    // here.
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
    /// Whether `casemate run` asks at this point before there is a guest.
    #[must_use]
    pub const fn is_asked_at_start(self) -> bool {
        // The point as a whole, by who keeps its settings; a fact with a keeper of its own (a
        // control group, open files) is asked at the same time.
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

    /// A field says who enforces it by the table's words. Cannot tell whether that part does: the
    /// tests of the parts do.
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

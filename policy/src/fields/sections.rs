//! Which fields a point decides, and so how each fact is written. The tables of fields name keys
//! and points; here they come together.

use super::{
    Field, Key, Kind, Point, attestation, devices, host, launch, network, resources, runtime,
    secrets,
};
use std::sync::LazyLock;

impl Point {
    /// The fields that are decided at this point. Secrets are decided by grants: see
    /// [`super::GRANT_FIELDS`].
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Host => host::HOST,
            Self::Launch => launch::LAUNCH,
            Self::Resources => resources::RESOURCES,
            Self::Devices => devices::DEVICES,
            Self::Egress => network::EGRESS,
            Self::EgressRate => network::EGRESS_RATE,
            Self::PageState => runtime::PAGE_STATE,
            Self::GuestRequest => runtime::GUEST_REQUEST,
            Self::Access => runtime::ACCESS,
            Self::Attestation => attestation::ATTESTATION,
            Self::Secrets => secrets::SECRETS,
        }
    }
}

impl Key {
    /// How the fact is written: the kind of the first field that constrains it.
    #[must_use]
    pub fn kind(self) -> Kind {
        // Found once: a fact is written by this kind in every input, whichever of its fields is
        // asked.
        static KINDS: LazyLock<Vec<Kind>> =
            LazyLock::new(|| Key::ALL.iter().map(|key| kind_of(*key)).collect());
        KINDS.get(self.index()).copied().unwrap_or(Kind::NAMES)
    }
}

fn kind_of(key: Key) -> Kind {
    let fields = Point::ALL.iter().flat_map(|point| point.fields());
    // A fact that no field constrains is a text, as a secret's resource is.
    fields.chain(super::GRANT_FIELDS).find(|f| f.key == key).map_or(Kind::NAMES, |f| f.kind)
}

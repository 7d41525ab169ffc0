//! The rules by which a running guest can be denied something, by name and point.

use crate::fields::Point;

/// The rules on page-state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRule {
    /// How many pages change.
    Changes,
    /// How much memory is shared.
    Shared,
}

impl PageRule {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::Changes, Self::Shared];

    /// The path of its field: the id of the rule.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Changes => "runtime.page_state_changes",
            Self::Shared => "runtime.shared_percent",
        }
    }
}

/// The rules on network traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetRule {
    /// Which end points the guest may open connections to.
    Egress,
    /// How many connections it may open.
    Rate,
}

impl NetRule {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Rate];

    /// The path of its field: the id of the rule.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Egress => "network.egress",
            Self::Rate => "network.rate",
        }
    }

    /// The point at which it is decided.
    #[must_use]
    pub const fn point(self) -> Point {
        match self {
            Self::Egress => Point::Egress,
            Self::Rate => Point::EgressRate,
        }
    }
}

/// A rule by which a running guest can be denied something, again and again: its denials are
/// counted, see [`crate::log::DenialsRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeRule {
    /// On page-state changes.
    Page(PageRule),
    /// On network traffic.
    Net(NetRule),
}

impl RuntimeRule {
    /// Every rule.
    pub const ALL: [Self; 4] = [
        Self::Page(PageRule::Changes),
        Self::Page(PageRule::Shared),
        Self::Net(NetRule::Egress),
        Self::Net(NetRule::Rate),
    ];

    /// The path of its field: the id of the rule.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Page(rule) => rule.path(),
            Self::Net(rule) => rule.path(),
        }
    }

    /// The point at which it is decided.
    #[must_use]
    pub const fn point(self) -> Point {
        match self {
            Self::Page(_) => Point::PageState,
            Self::Net(rule) => rule.point(),
        }
    }
}

impl From<PageRule> for RuntimeRule {
    fn from(rule: PageRule) -> Self {
        Self::Page(rule)
    }
}

impl From<NetRule> for RuntimeRule {
    fn from(rule: NetRule) -> Self {
        Self::Net(rule)
    }
}

//! Decision points: the questions a policy answers.

/// A question that a policy answers, each with its own input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// May this host run guests at all?
    Host,
    /// May this guest be launched?
    Launch,
    /// May the guest have these resources?
    Resources,
    /// May the guest have these devices?
    Devices,
    /// May the guest reach this end point?
    Egress,
    /// May the guest open one more connection now?
    EgressRate,
    /// May the guest change the state of these pages now?
    PageState,
    /// May the guest send one more request to the security processor now?
    GuestRequest,
    /// May someone on the host reach into the guest (console, debugger, snapshot, migration)?
    Access,
    /// Is this verified report of a guest good enough?
    Attestation,
    /// May this secret be released to the owner of this verified report?
    Secrets,
}

/// Sections of a document, in order, with what they are about.
pub const SECTIONS: [(&str, &str); 8] = [
    ("host", "What the host must be before any guest starts on it."),
    ("launch", "What may be launched, for whom, and how it is protected."),
    ("resources", "How much of the host a guest may take."),
    ("devices", "Which devices a guest may have, and what is behind them."),
    ("network", "What a guest may reach over the network."),
    ("runtime", "What a running guest, and the host around it, may do."),
    ("attestation", "What a verified report must show."),
    ("secrets", "Which verified claims release which secret."),
];

impl Point {
    /// Every point, in the order of documents and outputs.
    pub const ALL: [Self; 11] = [
        Self::Host,
        Self::Launch,
        Self::Resources,
        Self::Devices,
        Self::Egress,
        Self::EgressRate,
        Self::PageState,
        Self::GuestRequest,
        Self::Access,
        Self::Attestation,
        Self::Secrets,
    ];

    /// The name in inputs, logs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Launch => "launch",
            Self::Resources => "resources",
            Self::Devices => "devices",
            Self::Egress => "egress",
            Self::EgressRate => "egress-rate",
            Self::PageState => "page-state",
            Self::GuestRequest => "guest-request",
            Self::Access => "access",
            Self::Attestation => "attestation",
            Self::Secrets => "secrets",
        }
    }

    /// The point with this name, exactly.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }

    /// The index of the point in [`Point::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

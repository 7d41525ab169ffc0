//! What to do about each kind of finding: the help texts of SARIF and of the documentation.

/// Ids with what to do about them.
const HELP: &[(&str, &str)] = &[
    (
        "CD001",
        "The document is refused: nothing is decided by it, and whoever asks is denied. Put \
             the text right; the message names what was expected.",
    ),
    (
        "CC001",
        "State the field, or leave the whole section out if the point is meant to be closed.",
    ),
    ("CC002", "Remove the rule, or admit devices of this kind (count)."),
    (
        "CC003",
        "Remove it from the list of what is denied, or admit what it is to be an exception \
             from.",
    ),
    (
        "CC004",
        "Give each admitted generation a floor, and each floor a generation that is admitted.",
    ),
    (
        "CC005",
        "Let the grant and the attestation section have a report in common, or remove the \
             grant.",
    ),
    ("CM001", "Take `debug` out of the mask's `may` and `must`."),
    ("CM002", "Take `migrate_ma` out of the mask's `may` and `must`."),
    ("CM003", "Take `smt` out of the mask, or accept what a sibling thread can observe."),
    ("CM004", "List launch digests in `measurement`, or keys (not `unset`) in `id_key`."),
    (
        "CM005",
        "For information: whoever holds the key decides what runs. Pin `measurement`, or \
             `guest_svn` at least.",
    ),
    (
        "CM006",
        "Set `snp` and `microcode` of each generation to what your firmware vendor ships today.",
    ),
    ("CM007", "Raise `snp` to 24 (Milan) or 23 (Genoa): AMD-SB-3019."),
    ("CM008", "Leave `milan` out of the generations."),
    ("CM009", "Write `crl_checked = \"required\"`."),
    ("CM010", "Lower `crl_age_hours`: AMD's lists are renewed well within a month."),
    ("CM011", "Write `vmpl = 0`, unless a paravisor is meant to speak for the guest."),
    ("CM076", "Write `vmpl = 0`, unless a paravisor is meant to speak for the guest."),
    (
        "CM012",
        "List the chip identifiers of your machines in `chip_allow`; `unset` is a chip that \
             hides its own.",
    ),
    ("CM013", "Write `model_root = \"forbidden\"` anywhere but in tests."),
    ("CM014", "Write `provisional_firmware = \"forbidden\"`."),
    ("CM015", "List the providers' names in `csp_id`, without stars."),
    ("CM016", "List the labels in `context`."),
    ("CM074", "List the labels in `context`."),
    ("CM017", "Put `alias_check_complete` into the mask's `must`."),
    (
        "CM018",
        "Write `host_data = [\"initdata\"]` in a launch policy that is a member of the initdata; list \
         the SHA-256 of that initdata where reports are judged.",
    ),
    ("CM019", "Write `versions = { min = 3, max = 5 }`."),
    ("CM020", "Leave `none` out of `protection`, or accept that the host reads the guest."),
    (
        "CM021",
        "List the users as `uid-N`; a star behind a number admits every number that begins \
             with it.",
    ),
    ("CM022", "List author keys in `author_key`, or `unset` if images have none."),
    ("CM023", "List the words of the command line in `cmdline_allow`."),
    ("CM024", "List words with their values, or forbid the shown one in `cmdline_forbid`."),
    ("CM025", "Replace the digest of zeros (`unset`) by that of the image."),
    ("CM026", "Set `guest_svn` to the version of the oldest image that may still run."),
    ("CM027", "Put `casemate.debug*` into `cmdline_forbid`."),
    (
        "CM028",
        "Write `host_data = [\"initdata\"]` alone: the hash belongs into the policies that judge reports.",
    ),
    ("CM030", "Lower the ceiling to what a guest may take."),
    ("CM031", "Lower the number of devices."),
    ("CM032", "Name a directory that holds nothing but what guests may have."),
    ("CM033", "Write `foreign = \"forbidden\"`, or confine the other program yourself."),
    ("CM034", "Lower the number of queues of a device."),
    ("CM040", "List the networks that the guest needs."),
    (
        "CM041",
        "Leave the address out: write the ranges before and behind it with `first` and `last`.",
    ),
    ("CM043", "Leave 127.0.0.0/8 and ::1 out."),
    ("CM042", "Lower `per_second`."),
    ("CM050", "Lower `per_second`."),
    ("CM051", "Lower `shared_percent`: a guest shares buffers, a few percent."),
    ("CM052", "Write `console = \"output\"`."),
    ("CM053", "Write `debug = \"none\"`."),
    ("CM054", "Write `\"forbidden\"`."),
    ("CM060", "Write `\"required\"` (`smt = \"forbidden\"`), or accept a host without it."),
    ("CM061", "Raise the least version to one that is maintained."),
    (
        "CM062",
        "Demand the same in the attestation section: the host may lie about itself, a \
             report does not.",
    ),
    ("CM070", "Write `attested = \"required\"`."),
    ("CM071", "List `measurement` or `id_key` in the grant or in the attestation section."),
    (
        "CM078",
        "List the SHA-256 of the initdata in `host_data` of the grant or of the attestation section; \
         `unset` for guests that are given none.",
    ),
    ("CM072", "Lower `uses` to how often the secret is needed."),
    ("CM073", "Let the window end when the secret is to be replaced."),
    ("CM075", "Lower `session_age` to minutes."),
    ("CM077", "Write the repository out: `name/*`."),
    ("CM090", "`casemate policy test --suggest` writes the cases that are missing."),
    (
        "CM091",
        "Write what is meant: patterns know one `*`, at their end; type invisible \
             characters out.",
    ),
    (
        "CM095",
        "Write `\"any\"`, or admit no confidential guest: a rule that nobody can keep is refused, not \
             forgotten.",
    ),
    ("CM096", "For information: the reference says who enforces a rule, and since when."),
    (
        "CM097",
        "Write two documents: the launch policy, which goes into the initdata, and the release policy, \
         which stays with who releases secrets.",
    ),
    ("CM099", "For information: whoever approves the policy approves these."),
];

/// Why a finding matters and how to put it right; `None` for an id that there is not.
#[must_use]
pub fn help(id: &str) -> Option<&'static str> {
    HELP.iter().find(|(known, _)| *known == id).map(|(_, text)| *text)
}

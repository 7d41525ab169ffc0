//! What the supervisor of a running VM answers: one packet of text, a word first.
//!
//! Who answers is a process of the same user, as the kernel says, and all the same its answer is
//! parsed whole or refused: it may be of another version, or no supervisor at all.

use super::{Facts, Page};
use std::fmt;
use std::time::Duration;

/// Longest answer, bytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Longest reason of a refusal, bytes.
const MAX_REASON: usize = 1024;

/// An answer to a [`super::Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// What the VM is.
    Facts(Box<Facts>),
    /// The power button is pressed: so long the guest has left to switch itself off.
    Asked(Duration),
    /// The VM is being ended.
    Ends,
    /// Lines of what happened.
    Lines(Page),
    /// The VM has ended.
    Ended(Ending),
    /// It is not done: why, in text that is to be escaped.
    Refused(String),
}

/// How a VM ended, as far as who asked for its end has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The guest switched itself off after it was asked to.
    AsAsked,
    /// The guest did not switch itself off within the grace, and was ended.
    GraceOver,
    /// It was ended at once, as asked.
    Killed,
    /// It ended otherwise: by itself, by a time-out, by a failure.
    Otherwise,
}

impl Ending {
    const ALL: [Self; 4] = [Self::AsAsked, Self::GraceOver, Self::Killed, Self::Otherwise];

    const fn word(self) -> &'static str {
        match self {
            Self::AsAsked => "as-asked",
            Self::GraceOver => "grace-over",
            Self::Killed => "killed",
            Self::Otherwise => "otherwise",
        }
    }
}

/// An answer that is not understood. It quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its answer is not understood: is it of another version of casemate?")]
pub struct BadAnswer;

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Numbers, words and text: that serialises.
            Self::Facts(facts) => {
                let json = serde_json::to_string(facts).map_err(|_| fmt::Error)?;
                write!(f, "facts {json}")
            }
            Self::Asked(grace) => write!(f, "asked {}", grace.as_millis()),
            Self::Ends => f.write_str("ends"),
            Self::Lines(page) => write!(f, "lines {page}"),
            Self::Ended(how) => write!(f, "ended {}", how.word()),
            Self::Refused(why) => write!(f, "refused {why}"),
        }
    }
}

impl Answer {
    /// The answer of a packet.
    ///
    /// # Errors
    /// [`BadAnswer`].
    pub fn decode(packet: &[u8]) -> Result<Self, BadAnswer> {
        Self::understood(packet).ok_or(BadAnswer)
    }

    fn understood(packet: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(packet).ok().filter(|text| text.len() <= MAX_ANSWER)?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let answer = match word {
            "facts" => Self::Facts(serde_json::from_str(rest).ok()?),
            "asked" => Self::Asked(Duration::from_millis(rest.parse().ok()?)),
            "ends" => Self::Ends,
            "lines" => Self::Lines(Page::parse(rest)?),
            "ended" => Self::Ended(Ending::ALL.into_iter().find(|how| how.word() == rest)?),
            "refused" if rest.len() <= MAX_REASON => Self::Refused(rest.to_owned()),
            _ => return None,
        };
        // One spelling. Of facts that is the serialiser's, which may put members in another order.
        let is_facts = matches!(answer, Self::Facts(_));
        (is_facts || answer.to_string() == text).then_some(answer)
    }
}

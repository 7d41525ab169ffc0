//! One check with what it saw, and the list of all of them.

use super::Code;
use serde::Serialize;
use std::borrow::Cow;

/// Text of a check: mostly constant.
pub type Text = Cow<'static, str>;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Made, and it holds.
    Passed,
    /// Made, holds, and there is something to know.
    Warning,
    /// Made, and it does not hold.
    Failed,
    /// Not made; the text says why.
    NotChecked,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which check it is.
    pub code: Code,
    /// Whether it was made, and whether it holds.
    pub status: Status,
    /// The value seen, or why the check was not made.
    pub saw: Text,
    /// The value wanted, when it failed.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub wanted: Text,
}

/// The outcomes so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    list: Vec<Check>,
}

impl Checks {
    /// The only way into the list: texts out of certificates, policies and evidence come along, and
    /// from here they reach terminals, records and logs.
    fn push(&mut self, code: Code, status: Status, saw: Text, wanted: Text) {
        self.list.push(Check { code, status, saw: printable(saw), wanted: printable(wanted) });
    }

    pub(super) fn pass(&mut self, code: Code, saw: impl Into<Text>) {
        self.push(code, Status::Passed, saw.into(), Text::Borrowed(""));
    }

    pub(super) fn warn(&mut self, code: Code, saw: impl Into<Text>) {
        self.push(code, Status::Warning, saw.into(), Text::Borrowed(""));
    }

    pub(super) fn fail(&mut self, code: Code, saw: impl Into<Text>, wanted: impl Into<Text>) {
        self.push(code, Status::Failed, saw.into(), wanted.into());
    }

    pub(super) fn skip(&mut self, code: Code, why: impl Into<Text>) {
        self.push(code, Status::NotChecked, why.into(), Text::Borrowed(""));
    }

    /// Passes when `holds`, fails otherwise; the same value is seen either way.
    pub(super) fn require(
        &mut self,
        code: Code,
        holds: bool,
        saw: impl Into<Text>,
        wanted: impl Into<Text>,
    ) {
        if holds { self.pass(code, saw) } else { self.fail(code, saw, wanted) }
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.list.extend(other.list.iter().cloned());
    }

    /// Marks every check of `codes` that has no outcome yet as not made.
    pub(super) fn skip_missing(&mut self, codes: &[Code], why: &'static str) {
        // One bit for each code: there are fewer than 128.
        let made = self.list.iter().fold(0u128, |made, check| made | 1 << check.code as u32);
        for code in codes.iter().filter(|code| made >> **code as u32 & 1 == 0) {
            self.skip(*code, why);
        }
    }

    pub(super) fn any_failed(&self) -> bool {
        self.list.iter().any(|check| check.status == Status::Failed)
    }

    /// The outcomes in the order of [`Code::ALL`].
    pub(super) fn into_sorted(mut self) -> Vec<Check> {
        self.list.sort_by_key(|check| check.code);
        // Which comes first for a reader is fixed by the code, not by the way of the verification;
        // several outcomes of one code keep their order, as the sort is stable.
        self.list
    }
}

/// The text as it is, when it can be printed; else escaped and bounded.
fn printable(text: Text) -> Text {
    // Nearly all texts are plain and short: they pass without a copy.
    let short = text.len() <= casemate_foreign_text::LINE;
    if short && text.chars().all(casemate_foreign_text::is_plain) {
        return text;
    }
    Cow::Owned(casemate_foreign_text::line(text).to_string())
}

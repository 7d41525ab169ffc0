//! Spans and events: what a program tells whoever operates it.
//!
//! Users read lines that are written for them; operators read a log, which other programs read,
//! too. A library says what happens by [`event!`], in the [`Span`] of what it happens to, and does
//! not know who listens: without a listener an event costs one load and a branch. Only a program
//! installs one.
//!
//! Principle: a log is read by terminals, by parsers and by people in a hurry, and much of what is
//! worth logging was written by a guest, a file or a peer. So nothing raw can stand in an event. A
//! field takes a [`Fact`] and nothing else: a number, a yes or no, a word of this program's own
//! (`&'static str`), or [`Foreign`] text, which is escaped, bounded and one line. A `String` or a
//! path does not compile:
//!
//! ```
//! use casemate_diagnostics::event;
//! let path = String::from("vm.toml");
//! event!(DEBUG, Config, "configuration read", path = casemate_foreign_text::value(&path));
//! ```
//!
//! ```compile_fail
//! use casemate_diagnostics::event;
//! let path = String::from("vm.toml");
//! event!(DEBUG, Config, "configuration read", path = path);
//! ```
//!
//! ```compile_fail
//! use casemate_diagnostics::event;
//! let path = String::from("vm.toml");
//! event!(DEBUG, Config, "configuration read", path = path.as_str());
//! ```
//!
//! The text of an event is a constant; braces in it mean nothing:
//!
//! ```compile_fail
//! use casemate_diagnostics::event;
//! let path = String::from("vm.toml");
//! event!(DEBUG, Config, format!("{path} read"));
//! ```
//!
//! The crate `tracing` is used by this one alone, so there is no other way to make an event
//! (ARCHITECTURE.md, and a test that reads its tables).
#![forbid(unsafe_code)]

use casemate_foreign_text::{Foreign, line};
use std::fmt;
use std::fmt::Display;
use tracing::field::DisplayValue;

/// What an event is about. It is what `tracing` calls the target, and what a filter of the log
/// names; a module's path would name our files instead, which move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The program: which command, and how it ended.
    Program,
    /// A VM's configuration.
    Config,
    /// The launch plan and the files in it.
    Plan,
    /// What a policy decides.
    Policy,
    /// How processes are confined.
    Sandbox,
    /// The life of a VM and of its processes.
    Vm,
    /// What a vCPU does.
    Vcpu,
    /// Evidence: certificates, lists, checks.
    Evidence,
}

impl Area {
    /// Every area.
    pub const ALL: [Self; 8] = [
        Self::Program,
        Self::Config,
        Self::Plan,
        Self::Policy,
        Self::Sandbox,
        Self::Vm,
        Self::Vcpu,
        Self::Evidence,
    ];

    /// Its name in filters and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Config => "config",
            Self::Plan => "plan",
            Self::Policy => "policy",
            Self::Sandbox => "sandbox",
            Self::Vm => "vm",
            Self::Vcpu => "vcpu",
            Self::Evidence => "evidence",
        }
    }

    /// The area of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|area| area.name() == name)
    }
}

/// Characters of foreign text that one field shows, after escaping: an event has a handful of
/// fields, and stays a line that a reader can take in.
pub const FIELD: usize = 512;

/// What may stand in a field of an event.
pub trait Fact: sealed::Sealed {
    /// As the listener gets it.
    type Told: tracing::Value;
    /// Makes it that.
    fn told(self) -> Self::Told;
}

mod sealed {
    /// Only this crate says what is fit to be told.
    pub trait Sealed {}
}

macro_rules! plain_facts {
    ($($plain:ty),*) => { $(
        impl sealed::Sealed for $plain {}
        impl Fact for $plain {
            type Told = Self;
            fn told(self) -> Self {
                self
            }
        }
    )* };
}
plain_facts!(bool, u8, u16, u32, u64, usize, i32, i64, &'static str);

impl<T> sealed::Sealed for Foreign<T> {}
impl<T: Display> Fact for Foreign<T> {
    // Twice: `foreign_text::text` keeps line feeds, and an event has one line. What was escaped
    // before stays as it is.
    type Told = DisplayValue<Foreign<Self>>;
    fn told(self) -> Self::Told {
        tracing::field::display(line(self).at_most(FIELD))
    }
}

impl<T> sealed::Sealed for Option<T> {}
/// Without a value the field is left out.
impl<T: Fact> Fact for Option<T> {
    type Told = Option<T::Told>;
    fn told(self) -> Self::Told {
        self.map(T::told)
    }
}

/// What events happen to: a VM, a process of it, a vCPU. Clones are the same span.
#[derive(Clone)]
pub struct Span(tracing::Span);

impl Span {
    /// What events belong to that belong to nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(tracing::Span::none())
    }

    /// Does something whose events belong to this span, in this thread.
    pub fn within<T>(&self, done: impl FnOnce() -> T) -> T {
        self.0.in_scope(done)
    }
}

/// Its place, not what is in it.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.id().map(|id| id.into_u64())).finish()
    }
}

/// Tells that something happened: level (`ERROR` to `TRACE`), [`Area`], a constant text, and fields
/// that are each a [`Fact`]. It belongs to the span that the thread is [`within`](Span::within).
///
/// ```
/// # use casemate_diagnostics::event;
/// event!(INFO, Vm, "the process has started", pid = 17_u32);
/// ```
#[macro_export]
macro_rules! event {
    ($level:ident, $area:ident, $text:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::__private::event!(
            target: $crate::Area::$area.name(),
            $crate::__private::Level::$level,
            { message = $text $(, $name = $crate::Fact::told($value))* }
        )
    };
}

/// As [`event!`], in a span that comes first.
///
/// ```
/// # use casemate_diagnostics::{Span, event_in};
/// # let process = Span::none();
/// event_in!(process, INFO, Vm, "the process has started", pid = 17_u32);
/// ```
#[macro_export]
macro_rules! event_in {
    (
        $span:expr, $level:ident, $area:ident, $text:literal
        $(, $name:ident = $value:expr)* $(,)?
    ) => {
        $crate::__private::event!(
            target: $crate::Area::$area.name(),
            parent: $crate::__private::inside(&$span),
            $crate::__private::Level::$level,
            { message = $text $(, $name = $crate::Fact::told($value))* }
        )
    };
}

/// A span below `parent`, with a constant name and fields that are each a [`Fact`].
///
/// Its level is the highest, so that it is there whenever an event in it is.
///
/// ```
/// # use casemate_diagnostics::{Span, span_in};
/// let vm = span_in!(Span::none(), "vm", name = casemate_foreign_text::value("demo"));
/// let process = span_in!(vm, "process", kind = "vmm", pid = 17_u32);
/// ```
#[macro_export]
macro_rules! span_in {
    ($parent:expr, $text:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::__private::outside($crate::__private::span!(
            target: $crate::Area::Vm.name(),
            parent: $crate::__private::inside(&$parent),
            $crate::__private::Level::ERROR,
            $text
            $(, $name = $crate::Fact::told($value))*
        ))
    };
}

/// For the macros of this crate only.
#[doc(hidden)]
pub mod __private {
    use super::Span;
    pub use tracing::{Level, event, span};

    #[must_use]
    pub const fn inside(span: &Span) -> &tracing::Span {
        &span.0
    }

    #[must_use]
    pub const fn outside(span: tracing::Span) -> Span {
        Span(span)
    }
}

#[cfg(test)]
mod tests {
    use super::Area;

    #[test]
    fn every_area_is_found_by_its_name() {
        for area in Area::ALL {
            assert_eq!(Area::from_name(area.name()), Some(area));
        }
        assert_eq!(Area::from_name("casemate_hypervisor"), None);
    }
}

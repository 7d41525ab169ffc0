//! What is logged: a level for each area.

use casemate_diagnostics::Area;
use casemate_foreign_text::value;
use tracing_subscriber::filter::LevelFilter;

/// Levels by area, in the order of [`Area::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter([LevelFilter; Area::ALL.len()]);

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Neither a level nor an area with one.
    #[error(
        "{} is neither a level (off, error, warn, info, debug, trace) nor AREA=LEVEL (areas: {})",
        value(.0), names()
    )]
    Unknown(String),
    /// Said twice, so that one of the two would count for nothing.
    #[error("{0} has two levels")]
    Twice(&'static str),
}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

fn level(name: &str) -> Option<LevelFilter> {
    LEVELS.into_iter().find(|(known, _)| *known == name).map(|(_, level)| level)
}

fn names() -> String {
    Area::ALL.map(Area::name).join(", ")
}

impl Filter {
    /// Everything from this level up.
    pub const fn all(level: LevelFilter) -> Self {
        Self([level; Area::ALL.len()])
    }

    /// The filter of a text: levels with commas between, for every area or, as `AREA=LEVEL`, for
    /// one. Areas without a level of their own have the general one, wherever it stands; without
    /// one nothing of them is logged.
    ///
    /// # Errors
    /// [`FilterError`]: what is not known is refused. A filter that is read wrongly shows nothing,
    /// and its user believes that nothing happened.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut general = None;
        let mut own = [None; Area::ALL.len()];
        for part in text.split(',').map(str::trim) {
            let unknown = || FilterError::Unknown(part.to_owned());
            let (name, of, found) = match part.split_once('=') {
                None => ("every area", &mut general, level(part)),
                Some((area, of_area)) => {
                    let area = Area::from_name(area.trim_end()).ok_or_else(unknown)?;
                    let place = Area::ALL.iter().position(|known| *known == area);
                    let of = place.and_then(|place| own.get_mut(place)).ok_or_else(unknown)?;
                    (area.name(), of, level(of_area.trim_start()))
                }
            };
            if of.replace(found.ok_or_else(unknown)?).is_some() {
                return Err(FilterError::Twice(name));
            }
        }
        let general = general.unwrap_or(LevelFilter::OFF);
        Ok(Self(own.map(|own| own.unwrap_or(general))))
    }

    /// The level of an area, by its name; nothing of what is none.
    pub fn level_of(&self, area: &str) -> LevelFilter {
        let place = Area::ALL.iter().position(|known| known.name() == area);
        place.and_then(|place| self.0.get(place).copied()).unwrap_or(LevelFilter::OFF)
    }

    /// The most that is logged of any area.
    pub fn most(&self) -> LevelFilter {
        self.0.iter().copied().max().unwrap_or(LevelFilter::OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, FilterError, LevelFilter};

    #[test]
    fn a_level_is_for_every_area_that_has_none_of_its_own() {
        let levels = |text: &str| {
            let filter = Filter::parse(text).unwrap();
            ["vm", "policy", "sandbox", "casemate"].map(|area| filter.level_of(area))
        };
        let (off, warn) = (LevelFilter::OFF, LevelFilter::WARN);
        assert_eq!(levels("warn"), [warn, warn, warn, off]);
        assert_eq!(levels("policy=debug"), [off, LevelFilter::DEBUG, off, off]);
        let mixed = [warn, LevelFilter::TRACE, off, off];
        assert_eq!(levels("policy=trace,warn, sandbox = off"), mixed);
        assert_eq!(levels("warn,sandbox=off,policy=trace"), mixed);
        assert_eq!(Filter::parse("warn,vm=trace").unwrap().most(), LevelFilter::TRACE);
    }

    #[test]
    fn what_is_not_known_or_said_twice_is_refused_on_one_line() {
        for text in
            ["", "loud", "vm", "vm=", "vm=loud", "casemate_hypervisor=debug", "info,,", "Info"]
        {
            assert!(matches!(Filter::parse(text), Err(FilterError::Unknown(_))), "{text}");
        }
        for text in ["info,debug", "vm=info,vm=info"] {
            assert!(matches!(Filter::parse(text), Err(FilterError::Twice(_))), "{text}");
        }
        let error = Filter::parse("a\n\u{1b}[2J=info").unwrap_err().to_string();
        assert!(error.chars().all(casemate_foreign_text::is_plain), "{error}");
    }
}

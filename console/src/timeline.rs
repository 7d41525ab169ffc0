//! When each step of a VM's life happened, in microseconds since the process started.

use std::fmt::Write as _;
use std::time::Instant;

/// Events kept at most.
const MAX_EVENTS: usize = 96;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TimelineEvent {
    /// What happened.
    pub step: String,
    /// Microseconds since the process started.
    pub micros: u64,
    /// Whether the guest says so: a claim. Everything else was seen by the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub guest_says: bool,
}

/// The steps so far.
#[derive(Debug)]
pub struct Timeline {
    start: Instant,
    events: Vec<TimelineEvent>,
}

impl Timeline {
    /// A timeline that starts now.
    #[must_use]
    pub fn start() -> Self {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        events.push(TimelineEvent { step: "process start".into(), micros: 0, guest_says: false });
        Self { start: Instant::now(), events }
    }

    /// Records that `step` happened now.
    pub fn record(&mut self, step: impl Into<String>) {
        self.record_at(Instant::now(), step);
    }

    /// Records that `step` happened then.
    pub fn record_at(&mut self, at: Instant, step: impl Into<String>) {
        self.push(at, step.into(), false);
    }

    /// Records that the guest said then that it has reached `step`.
    pub fn guest_says(&mut self, at: Instant, step: impl Into<String>) {
        self.push(at, step.into(), true);
    }

    fn push(&mut self, at: Instant, step: String, guest_says: bool) {
        if self.events.len() < MAX_EVENTS {
            let since = at.saturating_duration_since(self.start);
            let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
            self.events.push(TimelineEvent { step, micros, guest_says });
        }
    }

    /// The steps, in order.
    #[must_use]
    pub fn events(&self) -> &[TimelineEvent] {
        &self.events
    }

    /// A table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (mut text, mut last) = (String::new(), 0);
        for TimelineEvent { step, micros, guest_says } in &self.events {
            let (ms, delta) = (*micros as f64 / 1e3, micros.saturating_sub(last) as f64 / 1e3);
            let who = if *guest_says { "the guest says: " } else { "" };
            let _ = writeln!(text, "{ms:>12.3} ms  {delta:>+11.3} ms  {who}{step}");
            last = *micros;
        }
        text
    }

    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "timeline": self.events }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_order_and_bounded() {
        let mut timeline = Timeline::start();
        for _ in 0..1000 {
            timeline.record("mark");
        }
        assert_eq!(timeline.events().len(), MAX_EVENTS);
        assert!(timeline.events().is_sorted_by_key(|event| event.micros));
        let json: serde_json::Value = serde_json::from_str(&timeline.to_json()).unwrap();
        assert_eq!(json["timeline"][0]["step"], "process start");
    }

    #[test]
    fn what_a_guest_says_is_told_from_what_was_seen() {
        let mut timeline = Timeline::start();
        timeline.record("locked");
        timeline.guest_says(Instant::now(), "locked");
        let text = timeline.to_text();
        assert_eq!(text.matches("the guest says: locked").count(), 1, "{text}");
        assert_eq!(text.matches("  locked").count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&timeline.to_json()).unwrap();
        assert_eq!(json["timeline"][2]["guest_says"], true);
        assert_eq!(json["timeline"][1].get("guest_says"), None);
    }
}

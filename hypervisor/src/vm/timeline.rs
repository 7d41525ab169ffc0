//! When each step of a VM's life happened, in microseconds since the process started.
//!
//! Times are taken by the supervisor when it learns of a step; the vmm process has no clock.

use std::fmt::Write as _;
use std::time::Instant;

/// Events kept at most: a guest can mark as often as it likes.
const MAX_EVENTS: usize = 64;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// What happened.
    pub step: String,
    /// Microseconds since the process started.
    pub micros: u64,
}

/// The steps so far.
#[derive(Debug)]
pub struct Timeline {
    start: Instant,
    events: Vec<Event>,
}

impl Timeline {
    /// A timeline that starts now.
    #[must_use]
    pub fn start() -> Self {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        events.push(Event { step: "process start".into(), micros: 0 });
        Self { start: Instant::now(), events }
    }

    /// Records that `step` happened now.
    pub fn record(&mut self, step: impl Into<String>) {
        if self.events.len() < MAX_EVENTS {
            let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.events.push(Event { step: step.into(), micros });
        }
    }

    /// The steps, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// A table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut last = 0;
        for event in &self.events {
            let (ms, delta) = (event.micros as f64 / 1000.0, (event.micros - last) as f64 / 1000.0);
            let _ = writeln!(text, "{ms:>12.3} ms  {delta:>+11.3} ms  {}", event.step);
            last = event.micros;
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
        assert!(timeline.events().windows(2).all(|w| w[0].micros <= w[1].micros));
        let json: serde_json::Value = serde_json::from_str(&timeline.to_json()).unwrap();
        assert_eq!(json["timeline"][0]["step"], "process start");
    }
}

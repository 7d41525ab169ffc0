//! What a listener to spans and events gets, as text.

use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// One event: `LEVEL area vm{name=x}:process{pid=1} text field=value`.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<String>>>);

impl Captured {
    /// Everything that this thread tells while `told` runs, one event an entry.
    pub fn of(told: impl FnOnce()) -> Vec<String> {
        let captured = Self::default();
        let registry = tracing_subscriber::registry().with(captured.clone());
        tracing::subscriber::with_default(registry, told);
        let events = captured.0.lock().unwrap();
        events.clone()
    }
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let shown = match field.name() {
            "message" => format!(" {value:?}"),
            name => format!(" {name}={value:?}"),
        };
        self.0.push_str(&shown);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Captured {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let spans = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let spans: Vec<String> = spans
            .map(|span| {
                let extensions = span.extensions();
                let fields = extensions.get::<Fields>().map_or("", |fields| fields.0.trim());
                format!("{}{{{fields}}}", span.name())
            })
            .collect();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, area) = (event.metadata().level(), event.metadata().target());
        let told = format!("{level} {area} {}{}", spans.join(":"), fields.0);
        self.0.lock().unwrap().push(told);
    }
}

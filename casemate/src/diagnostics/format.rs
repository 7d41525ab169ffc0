//! How an event is written: one line, for people or as a JSON object.
//!
//! Sources of events let nothing raw into them (see `casemate_diagnostics`). What is written here
//! goes through the printer of foreign text once more: a backstop, as for the program's other
//! output.

use casemate_diagnostics::FIELD;
use casemate_foreign_text::{json, line};
use std::fmt;
use tracing_core::field::Field;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::field::{RecordFields, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `TIME LEVEL area vm{named=demo}: text field=value`
    Text,
    /// An object with `time`, `level`, `area`, `text`, `fields`, `spans`.
    Json,
}

/// Whether bytes begin as a line of a log does, of either form, or as the notice of a log that had
/// no room for its first line.
pub fn is_line(bytes: &[u8]) -> bool {
    // 2026-01-31T
    let date = bytes.get(..11).is_some_and(|date| {
        date.iter().zip(b"0000-00-00T").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
    });
    let begins = ["{\"time\":\"", "WARN  program: ", "{\"level\":\"WARN\",\"area\":\"program\""];
    date || begins.iter().any(|begin| bytes.starts_with(begin.as_bytes()))
}

/// The field in which `tracing` has an event's text.
const TEXT: &str = "message";

/// The fields of a span or event: `a=1 b="two words"`, or `"a":1,"b":"two words"`.
struct Fields<'a> {
    form: Form,
    to: Writer<'a>,
    is_first: bool,
    outcome: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let (name, is_first) = (field.name(), std::mem::take(&mut self.is_first));
        self.outcome = self.outcome.and_then(|()| match self.form {
            Form::Text => write!(self.to, "{}{name}={value}", if is_first { "" } else { " " }),
            Form::Json => write!(self.to, "{}\"{name}\":{value}", if is_first { "" } else { "," }),
        });
    }

    /// A text stands between quotes where it could be taken for more than one value.
    fn put_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        if field.name() == TEXT {
            return;
        }
        let text = line(text).at_most(FIELD).to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+%,@".contains(c);
        match self.form {
            Form::Json => self.put(field, format_args!("{}", quoted(&text))),
            Form::Text if !text.is_empty() && text.chars().all(plain) => {
                self.put(field, format_args!("{text}"));
            }
            Form::Text => self.put(field, format_args!("\"{}\"", text.replace('"', "\\\""))),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format_args!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, format_args!("{value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format_args!("{value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format_args!("{value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"));
    }
}

/// The text of an event.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == TEXT {
            self.0 = line(format_args!("{value:?}")).at_most(FIELD).to_string();
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    json(&serde_json::Value::from(text).to_string())
}

impl<'a> FormatFields<'a> for Form {
    fn format_fields<R: RecordFields>(&self, to: Writer<'a>, fields: R) -> fmt::Result {
        let mut written = Fields { form: *self, to, is_first: true, outcome: Ok(()) };
        fields.record(&mut written);
        written.outcome
    }
}

/// Writes whole lines.
#[derive(Debug)]
pub struct Line(pub Form);

impl<S> FormatEvent<S, Form> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Form>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, area) = (event.metadata().level(), event.metadata().target());
        let mut text = Text::default();
        event.record(&mut text);
        let spans = || context.event_scope().into_iter().flat_map(Scope::from_root);
        match self.0 {
            Form::Text => {
                SystemTime.format_time(&mut to)?;
                write!(to, " {level:<5} {area}")?;
                for (index, span) in spans().enumerate() {
                    let extensions = span.extensions();
                    let fields = extensions.get::<FormattedFields<Form>>();
                    let fields = fields.map_or("", |fields| fields.fields.as_str());
                    let before = if index == 0 { ' ' } else { ':' };
                    write!(to, "{before}{}{{{fields}}}", span.name())?;
                }
                write!(to, ": {}", text.0)?;
                let mut fields = String::new();
                context.format_fields(Writer::new(&mut fields), event)?;
                if fields.is_empty() { writeln!(to) } else { writeln!(to, " {fields}") }
            }
            Form::Json => {
                to.write_str("{\"time\":\"")?;
                SystemTime.format_time(&mut to)?;
                write!(to, "\",\"level\":\"{level}\",\"area\":\"{area}\"")?;
                write!(to, ",\"text\":{},\"fields\":{{", quoted(&text.0))?;
                context.format_fields(to.by_ref(), event)?;
                to.write_str("},\"spans\":[")?;
                for (index, span) in spans().enumerate() {
                    let extensions = span.extensions();
                    let fields = extensions.get::<FormattedFields<Form>>();
                    let fields = fields.map_or("", |fields| fields.fields.as_str());
                    let before = if index == 0 { "" } else { "," };
                    let comma = if fields.is_empty() { "" } else { "," };
                    write!(to, "{before}{{\"span\":\"{}\"{comma}{fields}}}", span.name())?;
                }
                writeln!(to, "]}}")
            }
        }
    }
}

//! The log for operators: what the parts of this program tell by events, filtered and written.
//!
//! It is no part of what a command says to its user, which goes its own way and stays as it is
//! whether there is a log or not. Without `--log`, `--log-file` or `CASEMATE_LOG` there is none.

mod filter;
mod format;
mod sink;

use crate::Failure;
use casemate_files::FileError;
use casemate_foreign_text::value;
use clap::Args;
use filter::Filter;
use format::{Form, Line};
use sink::Sink;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
#[cfg(feature = "vm")]
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Flags of every command.
#[derive(Debug, Args)]
pub struct LogFlags {
    /// Log what happens: off, error, warn, info, debug or trace, AREA=LEVEL for one area, several
    /// with commas between, such as info,sandbox=debug [env: CASEMATE_LOG]
    #[arg(long, global = true, value_name = "LEVELS", help_heading = HEADING)]
    log: Option<String>,
    /// Form of its lines: text or json [default: text] [env: CASEMATE_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORM", help_heading = HEADING)]
    log_format: Option<String>,
    /// Append it to this file instead of writing it to standard error; alone it means --log info
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    log_file: Option<PathBuf>,
}

const HEADING: &str = "Operator log, of what this program does";
const LEVELS: &str = "CASEMATE_LOG";
const FORM: &str = "CASEMATE_LOG_FORMAT";

/// What a flag says, or a variable that is set and not empty, and what a message calls it.
fn said(
    flag: &'static str,
    given: Option<&String>,
    variable: &'static str,
) -> Result<Option<(&'static str, String)>, Failure> {
    if let Some(given) = given {
        return Ok(Some((flag, given.clone())));
    }
    match std::env::var(variable) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some((variable, text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::BadInput(format!("{variable}: it is not UTF-8")))
        }
    }
}

impl LogFlags {
    fn filter(&self) -> Result<Option<Filter>, Failure> {
        let Some((from, text)) = said("--log", self.log.as_ref(), LEVELS)? else {
            return Ok(self.log_file.as_ref().map(|_| Filter::all(LevelFilter::INFO)));
        };
        let wrong = |error| Failure::BadInput(format!("{from}: {error}"));
        Filter::parse(&text).map(Some).map_err(wrong)
    }

    fn form(&self) -> Result<Form, Failure> {
        match said("--log-format", self.log_format.as_ref(), FORM)? {
            None => Ok(Form::Text),
            Some((_, text)) if text == "text" => Ok(Form::Text),
            Some((_, text)) if text == "json" => Ok(Form::Json),
            Some((from, text)) => {
                Err(Failure::BadInput(format!("{from}: {} is neither text nor json", value(text))))
            }
        }
    }

    /// Begins the log that is asked for; from here on events are written.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a flag or variable that cannot be understood, whether there will
    /// be a log or not, and for a file that cannot be appended to.
    pub fn begin(&self) -> Result<Log, Failure> {
        let (filter, form) = (self.filter()?, self.form()?);
        let Some(filter) = filter.filter(|filter| filter.most() > LevelFilter::OFF) else {
            return Ok(Log { fd: None, is_file: false });
        };
        let sink = match &self.log_file {
            Some(path) => {
                let wrong = |error| Failure::BadInput(format!("--log-file: {error}"));
                let file = casemate_files::append(path).map_err(wrong)?;
                check_is_log(path).map_err(wrong)?;
                Sink::file(file, form)
            }
            None => Sink::standard_error(form)
                .map_err(|error| Failure::Failed(format!("--log: standard error: {error}")))?,
        };
        let log = Log { fd: Some(sink.fd()), is_file: self.log_file.is_some() };
        listen(filter, form, sink);
        Ok(log)
    }
}

/// Refuses a file that something else is in: a key, a kernel, an image, of which the first line of
/// a log would leave no use. It is written to before the command knows what its other files are.
fn check_is_log(path: &Path) -> Result<(), FileError> {
    let mut first = Vec::new();
    let read = casemate_files::open(path)?.take(64).read_to_end(&mut first);
    read.map_err(|source| FileError::Io { doing: "read", path: path.to_owned(), source })?;
    if first.is_empty() || format::is_line(&first) {
        return Ok(());
    }
    let source = io::Error::other("something else is in it than a log of this program");
    Err(FileError::Io { doing: "write", path: path.to_owned(), source })
}

/// The log, as far as who locks this process has to know of it.
#[derive(Debug)]
#[cfg_attr(not(feature = "vm"), allow(dead_code, reason = "only a VM's supervisor locks itself"))]
pub struct Log {
    fd: Option<Arc<OwnedFd>>,
    is_file: bool,
}

#[cfg(feature = "vm")]
impl Log {
    /// What is written to; None without a log.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_deref().map(AsFd::as_fd)
    }

    /// The file that the user has named for it.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.fd().filter(|_| self.is_file)
    }
}

fn listen(filter: Filter, form: Form, sink: Sink) {
    // It fails where there is a listener already: nothing else in this program installs one.
    let _ = listener(filter, form, sink).try_init();
}

/// What takes events and writes those that are wanted.
fn listener(filter: Filter, form: Form, sink: Sink) -> impl SubscriberInitExt {
    let sink = Arc::new(Mutex::new(sink));
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(form)
        .event_format(Line(form))
        .log_internal_errors(false)
        .with_writer(move || Lines(sink.clone()));
    // A span is there for the events in it, which have areas of their own.
    let wanted = filter_fn(move |about| {
        about.is_span() || *about.level() <= filter.level_of(about.target())
    });
    let wanted = wanted.with_max_level_hint(filter.most());
    tracing_subscriber::registry().with(wanted).with(lines)
}

/// Takes whole lines, each in one write.
struct Lines(Arc<Mutex<Sink>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, Form, Sink, listener};
    use casemate_foreign_text::is_plain;
    use std::io::{Read, Seek};
    use tracing_subscriber::util::SubscriberInitExt;

    /// What is written of the events of `told`.
    fn written(filter: &str, form: Form, told: impl FnOnce()) -> String {
        let path = std::env::temp_dir().join(format!(
            "casemate-listener-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let open = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
        let mut file = open.unwrap();
        std::fs::remove_file(&path).unwrap();
        let sink = Sink::file(file.try_clone().unwrap(), form);
        let set = listener(Filter::parse(filter).unwrap(), form, sink).set_default();
        told();
        drop(set);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// Protects terminals and parsers from an event that nobody made fit: the backstop behind what
    /// `casemate_diagnostics` lets into an event.
    #[test]
    fn raw_text_in_an_event_is_written_escaped_bounded_and_on_one_line() {
        let raw = "a\n\u{1b}[2J\u{9b}\u{202e}\"\\ b=2".repeat(1000);
        for form in [Form::Text, Form::Json] {
            let text = written("vm=trace", form, || {
                let span = tracing::error_span!(target: "vm", "vm", named = raw.as_str());
                let _entered = span.enter();
                tracing::info!(target: "vm", text = raw.as_str(), shown = %raw, debug = ?raw, "{raw}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.len() < 20_000, "{}", text.len());
            assert!(text.trim_end().chars().all(is_plain), "{text}");
            if form == Form::Json {
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
        }
    }

    #[test]
    fn a_span_is_there_for_the_events_of_other_areas_and_levels() {
        let text = written("sandbox=warn", Form::Text, || {
            let span = tracing::error_span!(target: "vm", "vm", named = "x");
            tracing::warn!(target: "sandbox", parent: &span, "told");
            tracing::info!(target: "sandbox", parent: &span, "less than asked for");
            tracing::error!(target: "vm", parent: &span, "another area");
            tracing::error!(target: "elsewhere", parent: &span, "no area");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with(" WARN  sandbox vm{named=x}: told\n"), "{text}");
    }
}

//! The log for operators: what the parts of this program tell by events, filtered and written.
//!
//! It is no part of what a command says to its user, which goes its own way and stays as it is
//! whether there is a log or not. Without `--log`, `--log-file` or `CASEMATE_LOG` there is none.

mod filter;
mod format;
mod sink;

use crate::Failure;
use casemate_foreign_text::value;
use clap::Args;
use filter::Filter;
use format::{Form, Line};
use sink::Sink;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
#[cfg(feature = "vm")]
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log for operators")]
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

const HEADING: &str = "Log for operators";
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
            return Ok(Log(None));
        };
        let sink = match &self.log_file {
            Some(path) => Sink::file(
                casemate_files::append(path)
                    .map_err(|error| Failure::BadInput(format!("--log-file: {error}")))?,
                form,
            ),
            None => Sink::standard_error(form)
                .map_err(|error| Failure::Failed(format!("--log: standard error: {error}")))?,
        };
        let log = Log(Some(sink.fd()));
        listen(filter, form, sink);
        Ok(log)
    }
}

/// The log, as far as who locks this process has to know of it.
#[derive(Debug)]
#[cfg_attr(not(feature = "vm"), allow(dead_code, reason = "only a VM's supervisor locks itself"))]
pub struct Log(Option<Arc<OwnedFd>>);

#[cfg(feature = "vm")]
impl Log {
    /// What is written to; None without a log.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_deref().map(AsFd::as_fd)
    }
}

fn listen(filter: Filter, form: Form, sink: Sink) {
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
    // It fails where there is a listener already: nothing else in this program installs one.
    let _ = tracing_subscriber::registry().with(wanted).with(lines).try_init();
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

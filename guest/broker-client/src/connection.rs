//! A session over connections: the one part that waits.

use crate::tls::OtherKey;
use crate::{Answer, ClientError, Next, Reader, Request, Session};
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error as TlsError, Stream};
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Bytes that are read at once.
const PART: usize = 16 * 1024;
/// Connections of a session, at most: a broker may end one behind each answer, and a host any.
const MAX_CONNECTIONS: u32 = 80;
/// Connections in a row that bring no answer.
const MAX_LOST: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// All of it.
    pub total: Duration,
}

/// Where connections come from. Reading and writing has to end by itself when nothing comes for
/// some seconds: the whole is bounded by the deadline, which is looked at between two calls.
pub trait Connect {
    /// A connection.
    type Stream: Read + Write;

    /// Connects to the broker.
    ///
    /// # Errors
    /// When nobody is there.
    fn connect(&mut self) -> IoResult<Self::Stream>;
}

impl<S: Read + Write, F: FnMut() -> IoResult<S>> Connect for F {
    type Stream = S;

    fn connect(&mut self) -> IoResult<S> {
        self()
    }
}

/// What a session needs of the guest around it.
pub trait Around {
    /// A report with this REPORT_DATA; None where there is no security processor.
    ///
    /// # Errors
    /// When there is one and it gives none.
    fn report(&mut self, data: &[u8; 64]) -> IoResult<Option<Vec<u8>>>;

    /// The broker's time, in seconds since 1970, of its first answer.
    ///
    /// # Errors
    /// [`ClientError::Clock`] when it cannot be.
    fn time(&mut self, seconds: u64) -> Result<(), ClientError>;
}

/// Asks a broker for the secrets of a session.
///
/// # Errors
/// [`ClientError`].
pub fn fetch(
    mut session: Session,
    tls: &Arc<ClientConfig>,
    connect: &mut impl Connect,
    around: &mut impl Around,
    bounds: Bounds,
) -> Result<Vec<Zeroizing<Vec<u8>>>, ClientError> {
    let deadline = Instant::now().checked_add(bounds.total).ok_or(ClientError::TooLong)?;
    let mut line = Line { tls, connect, deadline, open: None, connections: 0 };
    let mut told = false;
    loop {
        match session.step() {
            Next::Done(secrets) => return Ok(secrets),
            Next::Wait(time) => line.pause(time)?,
            Next::Report(data) => {
                let report = around.report(&data).map_err(ClientError::NoReport)?;
                session.evidence(report.as_deref())?;
            }
            Next::Ask(request) => {
                let answer = line.ask(&request)?;
                if !told {
                    told = true;
                    // Without it the clock would go on as the host's.
                    around.time(answer.date.ok_or(ClientError::Http("it has no Date"))?)?;
                }
                session.answer(&answer)?;
            }
        }
    }
}

/// The way to the broker.
struct Line<'l, C: Connect> {
    tls: &'l Arc<ClientConfig>,
    connect: &'l mut C,
    deadline: Instant,
    open: Option<(ClientConnection, C::Stream)>,
    connections: u32,
}

impl<C: Connect> Line<'_, C> {
    /// Sends a request and reads its answer. A connection that was lost is made again: a request
    /// may come twice then, which the protocol allows, as a secret that is asked for twice in one
    /// session is one use.
    fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut lost = 0_u32;
        loop {
            match self.try_ask(request) {
                Err(ClientError::Unreachable(error)) => {
                    self.open = None;
                    lost = lost.saturating_add(1);
                    if lost >= MAX_LOST {
                        return Err(ClientError::Unreachable(error));
                    }
                    self.pause(PAUSE)?;
                }
                Ok(answer) => {
                    if answer.last {
                        self.open = None;
                    }
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut reader = Reader::new(request.most());
        self.check_time()?;
        let deadline = self.deadline;
        let (connection, stream) = self.connection()?;
        let mut stream = Watched { stream, deadline };
        let mut stream = Stream::new(connection, &mut stream);
        stream.write_all(&request.to_bytes()).and_then(|()| stream.flush()).map_err(of_io)?;
        let mut part = Zeroizing::new([0; PART]);
        loop {
            let read = match stream.read(part.as_mut()) {
                Ok(0) => return Err(ClientError::Unreachable(ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(of_io(error)),
            };
            if let Some(answer) = reader.push(part.get(..read).unwrap_or_default())? {
                return Ok(answer);
            }
        }
    }

    fn connection(&mut self) -> Result<&mut (ClientConnection, C::Stream), ClientError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                if self.connections >= MAX_CONNECTIONS {
                    let many = Error::other("it ends every connection");
                    return Err(ClientError::Unreachable(many));
                }
                self.connections = self.connections.saturating_add(1);
                let stream = self.connect.connect().map_err(ClientError::Unreachable)?;
                // Nobody's: it is neither sent nor looked at.
                let name = ServerName::try_from("broker").map_err(|_| ClientError::Random)?;
                let tls = ClientConnection::new(Arc::clone(self.tls), name);
                (tls.map_err(ClientError::Tls)?, stream)
            }
        };
        Ok(self.open.insert(open))
    }

    fn check_time(&self) -> Result<(), ClientError> {
        if Instant::now() >= self.deadline { Err(ClientError::TooLong) } else { Ok(()) }
    }

    fn pause(&self, time: Duration) -> Result<(), ClientError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        std::thread::sleep(time.min(left));
        self.check_time()
    }
}

/// A stream whose every call looks at the clock first: a peer that sends a byte now and then holds
/// nobody beyond the deadline.
struct Watched<'s, S> {
    stream: &'s mut S,
    deadline: Instant,
}

impl<S> Watched<'_, S> {
    fn check(&self) -> IoResult<()> {
        if Instant::now() >= self.deadline { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl<S: Read> Read for Watched<'_, S> {
    fn read(&mut self, to: &mut [u8]) -> IoResult<usize> {
        self.check()?;
        self.stream.read(to)
    }
}

impl<S: Write> Write for Watched<'_, S> {
    fn write(&mut self, from: &[u8]) -> IoResult<usize> {
        self.check()?;
        self.stream.write(from)
    }

    fn flush(&mut self) -> IoResult<()> {
        self.stream.flush()
    }
}

/// What an error of a TLS stream is: one of TLS comes as one of reading.
fn of_io(error: Error) -> ClientError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<OtherKey>() {
                Some(key) => ClientError::WrongKey(key.to_string()),
                None => {
                    ClientError::Tls(TlsError::InvalidCertificate(CertificateError::BadEncoding))
                }
            }
        }
        Some(tls) => ClientError::Tls(tls.clone()),
        None => match error.kind() {
            // As a socket with a time-out says it.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => ClientError::TooLong,
            _ => ClientError::Unreachable(error),
        },
    }
}

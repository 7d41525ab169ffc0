//! Requests over TLS 1.3, by the configuration that PID 1 of a guest has: it knows the broker by
//! its key.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test uses a part")]

use super::{Carrier, Reply};
use casemate_broker_client::{hash_of_key, pinned};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A way to a broker, a connection at a time, made when it is needed.
pub struct Https {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    stream: Option<StreamOwned<ClientConnection, TcpStream>>,
    /// Connections made so far.
    pub connections: usize,
}

impl Https {
    /// To this address, where a broker with this certificate (DER) is.
    pub fn new(address: SocketAddr, certificate: &[u8]) -> Self {
        let config = pinned(vec![hash_of_key(certificate).unwrap()]).unwrap();
        Self { address, config, stream: None, connections: 0 }
    }

    /// One more to the same.
    pub fn another(&self) -> Self {
        let (address, config) = (self.address, self.config.clone());
        Self { address, config, stream: None, connections: 0 }
    }

    /// Closes the connection; the next request makes another.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }

    fn connected(&mut self) -> std::io::Result<&mut StreamOwned<ClientConnection, TcpStream>> {
        if self.stream.is_none() {
            let tcp = TcpStream::connect(self.address)?;
            tcp.set_nodelay(true)?;
            tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
            let name = ServerName::try_from("localhost").unwrap();
            let tls = ClientConnection::new(self.config.clone(), name).unwrap();
            self.stream = Some(StreamOwned::new(tls, tcp));
            self.connections += 1;
        }
        Ok(self.stream.as_mut().unwrap())
    }

    /// A request, and its answer; an error when the connection fails.
    pub fn try_call(
        &mut self,
        method: &str,
        path: &str,
        cookie: Option<&str>,
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let done = self.exchange(method, path, cookie, body);
        if done.is_err() {
            self.hang_up();
        }
        done
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        cookie: Option<&str>,
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let stream = self.connected()?;
        let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{cookie}\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            })
        };
        let length = header("Content-Length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        if header("Connection").is_some_and(|value| value == "close") {
            self.stream = None;
        }
        Ok(Reply { status, set_cookie: header("Set-Cookie"), body })
    }
}

impl Carrier for Https {
    fn call(&mut self, method: &str, path: &str, cookie: Option<&str>, body: &[u8]) -> Reply {
        self.try_call(method, path, cookie, body).unwrap()
    }
}
